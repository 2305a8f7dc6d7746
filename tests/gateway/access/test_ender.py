import pytest

from approvals.model import EndReason, Status
from gateway.identity import ports as identity
from gateway.identity.model import Role, RoleGrant
from gateway.identity.ports import Actor
from gateway.nodes import ports as node_ports
from gateway.store import directory, roles, tables, tokens
from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, BOTH, DATABASE_NODE, HOME, START, WEB, World, manual

ROOT = Actor("root", "192.0.2.1")


async def status(world: World, request_id: str) -> tuple[Status, EndReason | None]:
    life = (await world.reader.get(await world.caller("ada"), request_id)).life
    return life.status, life.end_reason


def test_it_is_what_identity_and_nodes_ask_for(ready: World) -> None:
    for_identity: identity.AccessEnder = ready.ender
    for_nodes: node_ports.AccessEnder = ready.ender
    assert for_identity
    assert for_nodes


@pytest.mark.rule("R25")
@pytest.mark.parametrize("what", ["user_locked", "user_removed", "node_locked", "node_removed", "scope_disabled"])
async def test_windows_end_as_revoked_pending_ones_as_failed(ready: World, what: str) -> None:
    opened, pending = await ready.approved(), await ready.ask("alice", "db-1")
    untouched = await ready.ask("bob", "web-1")
    await ready.tokens.issue(await ready.caller("alice"), opened.life.id)
    with ready.changes.subscribe("sessions") as woken, ready.changes.subscribe(opened.life.id) as of_it:
        async with ready.database.transaction() as tx:
            match what:
                case "user_locked":
                    await ready.ender.user_locked(tx, "alice", "lost the laptop", ROOT)
                case "user_removed":
                    await ready.ender.user_removed(tx, "alice", ROOT)
                case "node_locked":
                    await ready.ender.node_locked(tx, DATABASE_NODE, "on fire", ROOT)
                case "node_removed":
                    await ready.ender.node_removed(tx, DATABASE_NODE, "root")
                case _:
                    await ready.ender.scope_disabled(tx, *HOME, ROOT)
            assert not woken.is_set()  # not before the commit
        assert woken.is_set()
        assert of_it.is_set()
    reason = EndReason.DISABLED if what == "scope_disabled" else EndReason(what.upper())
    assert await status(ready, opened.life.id) == (Status.REVOKED, reason)
    assert await status(ready, pending.life.id) == (Status.FAILED, reason)
    still = (Status.REVOKED, reason) if what == "scope_disabled" else (Status.APPROVED, None)
    assert await status(ready, untouched.life.id) == still
    async with ready.database.read() as connection:
        assert await tokens.alive(connection, opened.life.id, START) == []
    told = (await ready.reader.get(await ready.caller("ada"), opened.life.id)).events[-1]
    assert (told.type, told.actor_id) == ("access_request.revoked", "root")


@pytest.mark.rule("R25")
async def test_the_reason_reaches_those_whose_sessions_end(ready: World) -> None:
    request = await ready.approved()
    async with ready.database.transaction() as tx:
        await ready.ender.user_locked(tx, "alice", "lost the laptop", ROOT)
    ended = await ready.reader.get(await ready.caller("alice"), request.life.id)
    assert ended.life.end_note == "lost the laptop"


async def test_a_failing_change_ends_nothing(ready: World) -> None:
    request = await ready.approved()
    before = await ready.rows()
    with pytest.raises(ConnectionError):  # noqa: PT012 - the block is what must not be committed
        async with ready.database.transaction() as tx:
            await ready.ender.user_locked(tx, "alice", "lost the laptop", ROOT)
            raise ConnectionError("and then the disk was full")
    assert await ready.rows() == before
    assert await status(ready, request.life.id) == (Status.APPROVED, None)


@pytest.mark.rule("R3")
async def test_tags_that_no_longer_fit_end_an_auto_approved_window(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    await ready.retag(WEB, {"Environment": "dev", "Colour": "red"})
    assert await status(ready, request.life.id) == (Status.APPROVED, None)
    await ready.retag(WEB, {"Environment": "production"})
    assert await status(ready, request.life.id) == (Status.REVOKED, EndReason.TAGS_CHANGED)
    assert (await ready.events(request.life.id))[-1] == "access_request.reevaluated"


@pytest.mark.rule("R3")
async def test_what_people_approved_stays(ready: World) -> None:
    request = await ready.approved()
    await ready.retag(DATABASE_NODE, {})
    assert await status(ready, request.life.id) == (Status.APPROVED, None)


@pytest.mark.rule("R3")
async def test_pending_requests_are_decided_again(ready: World) -> None:
    goes_on, fails = await ready.ask("alice", "db-1"), await ready.ask("alice", BOTH)
    await ready.put(PolicyKind.MANUAL, manual("northern", targets="[{tag: Site}]"))
    await ready.retag(DATABASE_NODE, {"Workload": "db", "Colour": "red"})
    await ready.retag(BOTH, {"Workload": "db", "Site": "south"})
    assert await status(ready, goes_on.life.id) == (Status.PENDING, None)
    assert await status(ready, fails.life.id) == (Status.FAILED, EndReason.POLICY_CONFLICT)


@pytest.mark.rule("R31")
async def test_other_groups_other_answer(ready: World) -> None:
    text = AUTO.replace("principal,", 'principal in AWS::IdentityStore::Group::"web",')
    await ready.put(PolicyKind.AUTO, text)
    await ready.person("wim", groups=["web"])
    async with ready.database.transaction() as tx:
        await tx.connection.execute(
            tables.role_grants.insert().values(
                holder_type="user", holder_id="wim", role="user", account="default", region="default"
            )
        )
    request = await ready.ask("wim", "web-1")
    assert request.life.status is Status.APPROVED
    async with ready.database.transaction() as tx:
        await ready.ender.groups_changed(tx, "wim", ROOT)
    assert await status(ready, request.life.id) == (Status.APPROVED, None)
    async with ready.database.transaction() as tx:
        await directory.leave(tx.connection, "wim", ["web"])
        await ready.ender.groups_changed(tx, "wim", ROOT)
    assert await status(ready, request.life.id) == (Status.REVOKED, EndReason.REQUESTER_CHANGED)


@pytest.mark.rule("R32")
@pytest.mark.parametrize("how", ["own", "of a group", "by leaving the group"])
async def test_what_a_role_opened_does_not_outlast_it(ready: World, how: str) -> None:
    own = how == "own"
    holder = RoleGrant("user" if own else "group", "zoe" if own else "ops", Role.USER)
    await ready.person("zoe", groups=["ops"])
    await ready.grant(holder)
    opened, pending, others = [await ready.ask(who, "db-1") for who in ("zoe", "zoe", "alice")]
    for who in ("sam", "olga"):
        await ready.requests.approve(await ready.caller(who), opened.life.id)
    async with ready.database.transaction() as tx:
        if how == "by leaving the group":
            await directory.leave(tx.connection, "zoe", ["ops"])
            await ready.ender.groups_changed(tx, "zoe", ROOT)
        else:
            await roles.remove(tx.connection, holder)
            await ready.ender.role_revoked(tx, holder, ROOT)
    assert await status(ready, opened.life.id) == (Status.REVOKED, EndReason.ROLE_REVOKED)
    assert await status(ready, pending.life.id) == (Status.FAILED, EndReason.ROLE_REVOKED)
    assert await status(ready, others.life.id) == (Status.PENDING, None)


@pytest.mark.rule("R32")
async def test_who_may_ask_by_another_grant_keeps_the_window(ready: World) -> None:
    twice = RoleGrant("user", "alice", Role.USER, "*", "*")
    await ready.grant(twice)
    request = await ready.approved()
    for gone in (twice, RoleGrant("user", "alice", Role.APPROVER)):
        await ready.ungrant(gone)
        async with ready.database.transaction() as tx:
            await ready.ender.role_revoked(tx, gone, ROOT)
        assert await status(ready, request.life.id) == (Status.APPROVED, None)


async def test_a_window_that_is_over_expires_instead(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    ready.clock.advance(hours=2)
    async with ready.database.transaction() as tx:
        await ready.ender.user_locked(tx, "alice", "lost the laptop", ROOT)
    assert await status(ready, request.life.id) == (Status.EXPIRED, EndReason.WINDOW_ENDED)


async def test_unreadable_policies_approve_nobody_and_stop_no_change(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    async with ready.database.transaction() as tx:
        versions = tables.policy_versions
        await tx.connection.execute(versions.update().where(versions.c.name == "databases").values(text="name: ["))
    ready.compiled._kept.clear()
    await ready.retag(WEB, {"Environment": "dev"})
    assert await status(ready, request.life.id) == (Status.REVOKED, EndReason.TAGS_CHANGED)

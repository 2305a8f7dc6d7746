from datetime import timedelta

import pytest

from approvals.model import EndReason, PolicyRef, Status
from gateway.access.requests import Ask
from gateway.identity.model import Role, RoleGrant
from gateway.store import tables
from policy.model import PolicyKind
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import (
    AUTO,
    BOTH,
    DATABASE_NODE,
    DENY,
    FAR,
    HOME,
    START,
    WEB,
    World,
    manual,
)


@pytest.mark.rule("R7")
async def test_auto_approval_opens_one_hour_at_once(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    assert request.life.status is Status.APPROVED
    assert request.life.window_end == START + timedelta(hours=1)
    assert request.life.policy == PolicyRef("auto-approval", 1)
    assert request.explanation["outcome"]["kind"] == "auto_approved"
    assert [event.type for event in request.events] == ["access_request.approved"]
    told = request.events[0]
    assert (told.actor_id, told.source_address, told.account) == ("alice", "192.0.2.77", "default")
    assert told.details["policy"] == {"name": "auto-approval", "version": 1}


@pytest.mark.rule("R6")
async def test_deny_takes_auto_approval_away_and_leaves_the_rest_to_people(ready: World) -> None:
    await ready.put(PolicyKind.DENY, DENY)
    assert (await ready.ask("alice", "web-1")).life.end_reason is EndReason.NO_POLICY
    await ready.put(PolicyKind.MANUAL, manual("everything", targets="all"))
    request = await ready.ask("alice", "web-1")
    assert request.life.status is Status.PENDING
    assert request.life.policy == PolicyRef("everything", 1)


@pytest.mark.rule("R11")
async def test_no_policy_is_kept_as_failed(world: World) -> None:
    request = await world.ask("alice", "web-1")
    assert (request.life.status, request.life.end_reason) == (Status.FAILED, EndReason.NO_POLICY)
    kept = await world.reader.get(await world.caller("alice"), request.life.id)
    assert kept == request
    assert [event.type for event in kept.events] == ["access_request.failed"]


@pytest.mark.rule("R9")
async def test_conflict_fails_and_names_policies_and_tags(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual("northern", targets="[{tag: Site}]"))
    request = await ready.ask("alice", BOTH)
    assert (request.life.status, request.life.end_reason) == (Status.FAILED, EndReason.POLICY_CONFLICT)
    told = request.events[-1].details["details"]["failure"]["policies"]
    assert {(policy["name"], *policy["tags"]) for policy in told} == {
        ("databases", "Workload=db"),
        ("northern", "Site=north"),
    }


@pytest.mark.rule("R8")
async def test_a_tag_beats_all_nodes(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual("everything", targets="all"))
    assert (await ready.ask("alice", "db-1")).life.policy == PolicyRef("databases", 1)


@pytest.mark.rule("R14")
async def test_explanation_is_kept_with_the_request(ready: World) -> None:
    request = await ready.ask("alice", DATABASE_NODE)
    kept = await ready.reader.get(await ready.caller("alice"), request.life.id)
    assert kept.explanation["principal"]["id"] == "alice"
    assert kept.explanation["node"] == {"id": DATABASE_NODE, "tags": {"Workload": "db"}}
    assert kept.explanation["auto"]["statements"][0]["match"] == "condition false"
    assert kept.explanation["manual"][0]["matched"] is True


@pytest.mark.rule("R21")
async def test_the_policy_version_is_pinned(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.put(PolicyKind.MANUAL, manual(hours=1, levels="[{approvers: [{user: pete}]}]"))
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    decided = await ready.requests.approve(await ready.caller("olga"), request.life.id)
    assert decided.life.policy == PolicyRef("databases", 1)
    assert decided.life.window_end == START + timedelta(hours=8)


@pytest.mark.rule("R21")
async def test_hours_only_shorten(ready: World) -> None:
    shorter = await ready.approved(hours=2)
    assert shorter.life.window_end == START + timedelta(hours=2)
    longer = await ready.approved(hours=300)
    assert longer.life.window_end == START + timedelta(hours=8)


@pytest.mark.rule("R2")
async def test_nodes_of_the_own_account_only(ready: World) -> None:
    alice = await ready.caller("alice")
    async with refused(ready, "NOT_PERMITTED"):
        await ready.requests.start(alice, Ask(("other", "default"), "far-1", "curious"))
    # A foreign node named in the own scope is not there, by name or by id.
    for node in ("far-1", FAR):
        async with refused(ready, "NODE_NOT_FOUND"):
            await ready.requests.start(alice, Ask(HOME, node, "curious"))
    await ready.grant(RoleGrant("user", "alice", Role.USER, "other", "default"))
    await ready.enable("other", "default")
    asked = await ready.requests.start(await ready.caller("alice"), Ask(("other", "default"), "far-1", "may"))
    # The auto-approval policy of another account does not reach there (R1).
    assert asked.life.end_reason is EndReason.NO_POLICY


@pytest.mark.rule("R2")
async def test_grants_are_read_afresh(ready: World) -> None:
    alice = await ready.caller("alice")
    await ready.ungrant(RoleGrant("user", "alice", Role.USER))
    async with refused(ready, "NOT_PERMITTED"):
        await ready.requests.start(alice, Ask(HOME, "web-1", "had the right a moment ago"))


@pytest.mark.rule("R4")
async def test_disabled_fails_and_is_kept(ready: World) -> None:
    await ready.enable(*HOME, enabled=False)
    request = await ready.ask("alice", "web-1")
    assert (request.life.status, request.life.end_reason) == (Status.FAILED, EndReason.DISABLED)
    await ready.enable(*HOME)
    assert (await ready.ask("alice", "web-1")).life.status is Status.APPROVED


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    ("reason", "because"),
    [("", "INVALID_REASON"), ("   ", "INVALID_REASON"), ("x" * 257, "INVALID_REASON"), ("a\nb", "INVALID_REASON")],
)
async def test_reasons_that_are_none(ready: World, reason: str, because: str) -> None:
    async with refused(ready, because):
        await ready.ask("alice", "web-1", reason=reason)


@pytest.mark.rule("R23")
async def test_ids_and_the_longest_reason(ready: World) -> None:
    request = await ready.ask("alice", WEB, reason="x" * 256)
    assert len(request.life.id) == 15
    assert request.life.id.startswith("oi-")


@pytest.mark.parametrize("hours", [-1, 337])
async def test_hours_out_of_bounds(ready: World, hours: int) -> None:
    async with refused(ready, "INVALID_HOURS"):
        await ready.ask("alice", "web-1", hours=hours)


async def test_unknown_node(ready: World) -> None:
    for node in ("nowhere", "i-ffffffffffffffff0", "'; DROP TABLE nodes; --"):
        async with refused(ready, "NODE_NOT_FOUND"):
            await ready.ask("alice", node)


@pytest.mark.rule("R25")
async def test_locks_refuse(ready: World) -> None:
    alice = await ready.caller("alice")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.nodes, WEB, locked_at=START, lock_reason="on fire")
    async with refused(ready, "NODE_LOCKED"):
        await ready.ask("alice", "web-1")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.users, "alice", locked_at=START, lock_reason="left")
    async with refused(ready, "USER_LOCKED"):
        await ready.requests.start(alice, Ask(HOME, "db-1", "still here?"))
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.users, "alice", locked_at=None, removed_at=START)
    async with refused(ready, "USER_REMOVED"):
        await ready.requests.start(alice, Ask(HOME, "db-1", "still here?"))


@pytest.mark.rule("R31")
async def test_membership_older_than_a_day_is_too_old(ready: World) -> None:
    await ready.person("ivan", grants=[Role.USER], issuer="https://idp.example")
    assert (await ready.ask("ivan", "web-1")).life.status is Status.APPROVED
    ready.clock.advance(hours=24, seconds=1)
    async with refused(ready, "STALE_MEMBERSHIP"):
        await ready.ask("ivan", "web-1")


async def test_an_idempotency_key_makes_one_request(ready: World) -> None:
    first = await ready.ask("alice", "db-1", idempotency_key="k" * 16)
    again = await ready.ask("alice", DATABASE_NODE, idempotency_key="k" * 16)
    assert again == first
    async with refused(ready, "IDEMPOTENCY_KEY_REUSED"):
        await ready.ask("alice", "web-1", idempotency_key="k" * 16)
    # Keys are everybody's own.
    assert (await ready.ask("bob", "db-1", idempotency_key="k" * 16)).life.id != first.life.id


@pytest.mark.rule("R13")
async def test_a_stored_policy_that_no_longer_reads_lets_no_laxer_one_decide(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual("everything", targets="all"))
    async with ready.database.transaction() as tx:
        versions = tables.policy_versions
        await tx.connection.execute(versions.update().where(versions.c.name == "databases").values(text="name: ["))
    ready.compiled._kept.clear()
    async with refused(ready, "POLICY_UNUSABLE"):
        await ready.ask("alice", "db-1")


@pytest.mark.rule("R13")
async def test_a_deny_policy_that_no_longer_reads_takes_auto_approval_away(ready: World) -> None:
    await ready.put(PolicyKind.DENY, DENY.replace('"dev"', '"nowhere"'))
    assert (await ready.ask("alice", "web-1")).life.status is Status.APPROVED
    async with ready.database.transaction() as tx:
        versions = tables.policy_versions
        await tx.connection.execute(versions.update().where(versions.c.kind == "deny").values(text="forbid("))
    ready.compiled._kept.clear()
    assert (await ready.ask("alice", "web-1")).life.end_reason is EndReason.NO_POLICY


@pytest.mark.rule("R21")
async def test_a_new_version_decides_the_next_request(ready: World) -> None:
    await ready.put(PolicyKind.AUTO, AUTO.replace('"dev"', '"test"'))
    assert (await ready.ask("alice", "web-1")).life.end_reason is EndReason.NO_POLICY
    await ready.put(PolicyKind.AUTO, AUTO)
    assert (await ready.ask("alice", "web-1")).life.policy == PolicyRef("auto-approval", 3)

from datetime import datetime, timedelta
from typing import Any

import pytest

from approvals.model import EndReason, Status
from gateway.access.admission import Admission
from gateway.access.model import AccessRequest
from gateway.access.tokens import IssuedToken, new_token
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.store import tables
from policy.model import PolicyKind
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import DATABASE_NODE, HOME, START, WEB, World, manual


async def token_for(world: World, request: AccessRequest, user_id: str = "alice") -> str:
    issued = await world.tokens.issue(await world.caller(user_id), request.life.id)
    assert isinstance(issued, IssuedToken)
    return issued.value


async def admit(
    world: World,
    token: str,
    caller: Caller | None = None,
    node: str = "web-1",
    scope: tuple[str, str] = HOME,
    now: datetime | None = None,
) -> Admission:
    caller = caller or await world.caller("alice")
    async with world.database.transaction() as tx:
        return await world.gate.admit(tx, token, caller, node, scope, now or world.clock())


async def still_open(world: World, request_id: str) -> EndReason | None:
    async with world.database.read() as connection:
        return await world.gate.still_open(connection, request_id, world.clock())


@pytest.mark.rule("R24")
async def test_the_holder_comes_in_as_often_as_needed(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    token = await token_for(ready, request)
    for node in ("web-1", WEB):
        admission = await admit(ready, token, node=node)
        assert admission.request.id == request.life.id
        assert admission.node.id == WEB
        assert admission.ends_at == START + timedelta(hours=1)
    assert await still_open(ready, request.life.id) is None


@pytest.mark.rule("R24")
async def test_every_wrong_token(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    other = await ready.approved()
    token, other_token = await token_for(ready, request), await token_for(ready, other)
    async with refused(ready, "TOKEN_MALFORMED"):
        await admit(ready, token[:-1])
    async with refused(ready, "TOKEN_UNKNOWN"):
        await admit(ready, new_token())
    async with refused(ready, "TOKEN_UNKNOWN"):
        await admit(ready, token, await ready.caller("bob"))
    async with refused(ready, "TOKEN_OTHER_KEY"):
        await admit(ready, token, await ready.caller("alice", "key-2"))
    async with refused(ready, "TOKEN_OTHER_NODE"):
        await admit(ready, other_token)
    async with refused(ready, "NODE_NOT_FOUND"):
        await admit(ready, token, node="nowhere")
    async with refused(ready, "NOT_PERMITTED"):
        await admit(ready, token, scope=("other", "default"))
    async with refused(ready, "ACCESS_ENDED"):
        await admit(ready, token, now=START + timedelta(hours=1))


@pytest.mark.rule("R24")
async def test_identity_and_token_are_both_needed(ready: World) -> None:
    token = await token_for(ready, await ready.ask("alice", "web-1"))
    alice = await ready.caller("alice")
    await ready.ungrant(RoleGrant("user", "alice", Role.USER))
    async with refused(ready, "NOT_PERMITTED"):
        await admit(ready, token, alice)


@pytest.mark.rule("R25")
async def test_locks_removals_and_disabling_keep_out(ready: World) -> None:
    token = await token_for(ready, await ready.ask("alice", "web-1"))
    alice = await ready.caller("alice")
    cases: list[tuple[Any, str, dict[str, Any], str]] = [
        (tables.users, "alice", {"locked_at": START, "lock_reason": "left"}, "USER_LOCKED"),
        (tables.users, "alice", {"removed_at": START}, "USER_REMOVED"),
        (tables.nodes, WEB, {"locked_at": START, "lock_reason": "on fire"}, "NODE_LOCKED"),
        (tables.nodes, WEB, {"removed_at": START}, "NODE_NOT_FOUND"),
    ]
    for table, row_id, change, reason in cases:
        async with ready.database.transaction() as tx:
            await ready.set(tx.connection, table, row_id, **change)
        async with refused(ready, reason):
            await admit(ready, token, alice)
        async with ready.database.transaction() as tx:
            await ready.set(tx.connection, table, row_id, **dict.fromkeys(change))
    await ready.enable(*HOME, enabled=False)
    async with refused(ready, "ACCESS_DISABLED"):
        await admit(ready, token)
    await ready.enable(*HOME)
    assert await admit(ready, token)


@pytest.mark.rule("R31")
async def test_stale_membership_starts_no_session(ready: World) -> None:
    await ready.person("ivan", grants=[Role.USER], issuer="https://idp.example")
    request = await ready.ask("ivan", "db-1")
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    ready.clock.advance(hours=23)
    await ready.requests.approve(await ready.caller("olga"), request.life.id)
    token = await token_for(ready, request, "ivan")
    assert await admit(ready, token, await ready.caller("ivan"), "db-1")
    ready.clock.advance(hours=1, seconds=1)
    token = await token_for(ready, request, "ivan")
    async with refused(ready, "STALE_MEMBERSHIP"):
        await admit(ready, token, await ready.caller("ivan"), "db-1")


@pytest.mark.rule("R21")
async def test_the_first_session_starts_a_window_that_waits_for_it(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual(more="windowStarts: firstSession\n"))
    request = await ready.approved()
    assert request.life.window_end is None
    ready.clock.advance(hours=5)
    token = await token_for(ready, request)
    started = ready.clock()
    first = await admit(ready, token, node="db-1")
    assert first.ends_at == started + timedelta(hours=8)
    ready.clock.advance(minutes=30)
    second = await admit(ready, token, node="db-1")
    assert second.ends_at == first.ends_at
    assert (await ready.events(request.life.id)).count("access_request.window_started") == 1


@pytest.mark.rule("R21")
async def test_a_first_session_after_a_day_is_too_late(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual(more="windowStarts: firstSession\n"))
    request = await ready.approved()
    ready.clock.advance(hours=23, minutes=30)
    token = await token_for(ready, request)
    ready.clock.advance(minutes=30)
    async with refused(ready, "ACCESS_ENDED"):
        await admit(ready, token, node="db-1")
    assert await still_open(ready, request.life.id) is EndReason.WINDOW_ENDED


@pytest.mark.rule("R25")
async def test_a_refusal_starts_no_window(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual(more="windowStarts: firstSession\n"))
    request = await ready.approved()
    token = await token_for(ready, request)
    with pytest.raises(ConnectionError):  # noqa: PT012 - the block is what must not be committed
        async with ready.database.transaction() as tx:
            await ready.gate.admit(tx, token, await ready.caller("alice"), "db-1", HOME, ready.clock())
            raise ConnectionError("the session's row could not be written")
    kept = await ready.reader.get(await ready.caller("alice"), request.life.id)
    assert kept.life.window_end is None


@pytest.mark.rule("R25")
async def test_still_open_says_why_not(ready: World) -> None:
    request = await ready.approved()
    assert await still_open(ready, request.life.id) is None
    await ready.requests.revoke(await ready.caller("olga"), request.life.id)
    assert await still_open(ready, request.life.id) is EndReason.REVOKED_BY_APPROVER

    request = await ready.approved()
    await ready.requests.give_back(await ready.caller("alice"), request.life.id)
    assert await still_open(ready, request.life.id) is EndReason.GIVEN_BACK

    request = await ready.approved()
    ready.clock.advance(hours=8)
    assert await still_open(ready, request.life.id) is EndReason.WINDOW_ENDED
    assert await still_open(ready, "oi-000000000000") is EndReason.WINDOW_ENDED

    pending = await ready.ask("alice", "db-1")
    assert pending.life.status is Status.PENDING
    assert await still_open(ready, pending.life.id) is not None


@pytest.mark.rule("R25")
@pytest.mark.parametrize(
    ("table", "row_id", "column", "reason"),
    [
        (tables.users, "alice", "locked_at", EndReason.USER_LOCKED),
        (tables.users, "alice", "removed_at", EndReason.USER_REMOVED),
        (tables.nodes, DATABASE_NODE, "locked_at", EndReason.NODE_LOCKED),
        (tables.nodes, DATABASE_NODE, "removed_at", EndReason.NODE_REMOVED),
    ],
)
async def test_a_lock_counts_even_where_nobody_ended_the_request(
    ready: World, table: object, row_id: str, column: str, reason: EndReason
) -> None:
    request = await ready.approved()
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, table, row_id, **{column: START})
    assert await still_open(ready, request.life.id) is reason

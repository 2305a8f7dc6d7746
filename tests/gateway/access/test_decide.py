from datetime import timedelta

import pytest

from approvals.model import EndReason, Status
from gateway.identity.model import Role, RoleGrant
from gateway.store import directory, tables, tokens
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import HOME, START, World

STRANGER = "oi-0123456789ab"


@pytest.mark.rule("R16")
async def test_levels_go_one_at_a_time(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    async with refused(ready, "NOT_ELIGIBLE"):
        await ready.requests.approve(await ready.caller("olga"), request.life.id)
    first = await ready.requests.approve(await ready.caller("sam"), request.life.id, "go ahead")
    assert (first.life.status, first.life.current_level) == (Status.PENDING, 1)
    second = await ready.requests.approve(await ready.caller("olga"), request.life.id)
    assert second.life.status is Status.APPROVED
    assert second.life.window_end == START + timedelta(hours=8)
    assert await ready.events(request.life.id) == [
        "access_request.opened",
        "access_request.approval_given",
        "access_request.level_completed",
        "access_request.approval_given",
        "access_request.level_completed",
        "access_request.approved",
    ]


@pytest.mark.rule("R29")
async def test_events_say_who_when_from_where_and_which_version(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    ready.clock.advance(minutes=5)
    await ready.requests.approve(await ready.caller("sam"), request.life.id, "go ahead")
    seen = await ready.reader.get(await ready.caller("alice"), request.life.id)
    given = seen.events[1]
    assert given.at == START + timedelta(minutes=5)
    assert (given.actor_id, given.source_address) == ("sam", "192.0.2.77")
    assert given.details["policy"] == {"name": "databases", "version": 1}
    assert given.summary == "sam approved at level 1 (1 of 1)"


@pytest.mark.rule("R32")
async def test_being_named_is_not_enough_without_the_role(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.ungrant(RoleGrant("group", "sre", Role.APPROVER))
    for decide in (ready.requests.approve, ready.requests.deny):
        async with refused(ready, "NOT_PERMITTED"):
            await decide(await ready.caller("sam"), request.life.id)
    # Elsewhere is not here.
    await ready.grant(RoleGrant("user", "sam", Role.APPROVER, "other", "default"))
    async with refused(ready, "NOT_PERMITTED"):
        await ready.requests.approve(await ready.caller("sam"), request.life.id)


@pytest.mark.rule("R17")
async def test_the_role_is_not_enough_without_being_named(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.grant(RoleGrant("user", "ada", Role.APPROVER))
    async with refused(ready, "NOT_ELIGIBLE"):
        await ready.requests.approve(await ready.caller("ada"), request.life.id)
    # Who is neither named nor an auditor does not learn that there is such a request.
    await ready.grant(RoleGrant("user", "bob", Role.APPROVER))
    async with refused(ready, "REQUEST_NOT_FOUND"):
        await ready.requests.approve(await ready.caller("bob"), request.life.id)


@pytest.mark.rule("R17")
async def test_membership_and_roles_are_read_when_the_decision_is_made(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    sam = await ready.caller("sam")
    async with ready.database.transaction() as tx:
        await directory.leave(tx.connection, "sam", ["sre"])
    async with refused(ready, "REQUEST_NOT_FOUND"):
        await ready.requests.approve(sam, request.life.id)
    async with ready.database.transaction() as tx:
        await directory.join(tx.connection, "bob", ["sre"])
    bob = await ready.caller("bob")
    assert (await ready.requests.approve(bob, request.life.id)).life.current_level == 1


@pytest.mark.rule("R17")
async def test_nobody_decides_on_the_own_request(ready: World) -> None:
    async with ready.database.transaction() as tx:
        await directory.join(tx.connection, "alice", ["sre"])
    request = await ready.ask("alice", "db-1")
    for decide in (ready.requests.approve, ready.requests.deny):
        async with refused(ready, "OWN_REQUEST"):
            await decide(await ready.caller("alice"), request.life.id)


@pytest.mark.rule("R17")
async def test_a_person_counts_once_in_the_request(ready: World) -> None:
    async with ready.database.transaction() as tx:
        await directory.join(tx.connection, "olga", ["sre"])
    request = await ready.ask("alice", "db-1")
    await ready.requests.approve(await ready.caller("olga"), request.life.id)
    async with refused(ready, "ALREADY_APPROVED"):
        await ready.requests.approve(await ready.caller("olga"), request.life.id)


@pytest.mark.rule("R31")
async def test_stale_membership_decides_nothing(ready: World) -> None:
    await ready.person("ivan", groups=["sre"], issuer="https://idp.example")
    request = await ready.ask("alice", "db-1")
    ready.clock.advance(hours=24, seconds=1)
    for decide in (ready.requests.approve, ready.requests.deny):
        async with refused(ready, "STALE_MEMBERSHIP"):
            await decide(await ready.caller("ivan"), request.life.id)


@pytest.mark.rule("R18")
async def test_one_denial_ends_it(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    denied = await ready.requests.deny(await ready.caller("pete"), request.life.id, "not on a Friday")
    assert (denied.life.status, denied.life.end_note) == (Status.REJECTED, "not on a Friday")
    async with refused(ready, "WRONG_STATUS"):
        await ready.requests.approve(await ready.caller("olga"), request.life.id)


@pytest.mark.rule("R19")
async def test_an_approver_takes_the_approval_back_while_pending(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    async with refused(ready, "NOTHING_TO_WITHDRAW"):
        await ready.requests.revoke(await ready.caller("sue"), request.life.id)
    back = await ready.requests.revoke(await ready.caller("sam"), request.life.id)
    assert (back.life.status, back.life.current_level) == (Status.PENDING, 0)


@pytest.mark.rule("R19")
async def test_revoking_a_needed_approval_ends_window_and_tokens(ready: World) -> None:
    request = await ready.approved()
    alice = await ready.caller("alice")
    issued = await ready.tokens.issue(alice, request.life.id)
    assert not isinstance(issued, Status)
    # Taking access away needs neither the role nor fresh membership.
    await ready.ungrant(RoleGrant("group", "sre", Role.APPROVER))
    revoked = await ready.requests.revoke(await ready.caller("sam"), request.life.id, "wrong node")
    assert (revoked.life.status, revoked.life.end_reason) == (Status.REVOKED, EndReason.REVOKED_BY_APPROVER)
    async with ready.database.read() as connection:
        assert await tokens.alive(connection, request.life.id, START) == []


@pytest.mark.rule("R19")
async def test_administrators_of_the_scope_revoke_any(ready: World) -> None:
    request = await ready.approved()
    await ready.grant(RoleGrant("user", "bob", Role.ORGANIZATION_ADMINISTRATOR, "other", "default"))
    async with refused(ready, "REQUEST_NOT_FOUND"):
        await ready.requests.revoke(await ready.caller("bob"), request.life.id)
    for who in ("sue", "ada", "alice"):
        async with refused(ready, "NOT_ELIGIBLE"):
            await ready.requests.revoke(await ready.caller(who), request.life.id)
    revoked = await ready.requests.revoke(await ready.caller("root"), request.life.id)
    assert revoked.life.end_reason is EndReason.REVOKED_BY_ADMINISTRATOR


@pytest.mark.rule("R19")
async def test_administrators_take_back_what_was_approved_so_far(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    async with refused(ready, "NOTHING_TO_WITHDRAW"):
        await ready.requests.revoke(await ready.caller("root"), request.life.id)
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    back = await ready.requests.revoke(await ready.caller("root"), request.life.id, "the ticket is gone")
    assert (back.life.status, back.life.approvals) == (Status.PENDING, ())
    assert back.events[-1].summary == "root took the approval of sam at level 1 back: the ticket is gone"


@pytest.mark.rule("R20")
async def test_the_requester_cancels_and_gives_back(ready: World) -> None:
    pending = await ready.ask("alice", "db-1")
    for who in ("sam", "root", "ada"):
        async with refused(ready, "NOT_REQUESTER"):
            await ready.requests.cancel(await ready.caller(who), pending.life.id)
    async with refused(ready, "WRONG_STATUS"):
        await ready.requests.give_back(await ready.caller("alice"), pending.life.id)
    cancelled = await ready.requests.cancel(await ready.caller("alice"), pending.life.id)
    assert cancelled.life.status is Status.CANCELLED

    opened = await ready.approved()
    for who in ("sam", "root", "ada"):
        async with refused(ready, "NOT_REQUESTER"):
            await ready.requests.give_back(await ready.caller(who), opened.life.id)
    async with refused(ready, "WRONG_STATUS"):
        await ready.requests.cancel(await ready.caller("alice"), opened.life.id)
    given_back = await ready.requests.give_back(await ready.caller("alice"), opened.life.id)
    assert given_back.life.status is Status.RETURNED


async def test_strangers_meet_nothing(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    mallory = await ready.caller("mallory")
    for act in (
        ready.requests.approve,
        ready.requests.deny,
        ready.requests.revoke,
        ready.requests.cancel,
        ready.requests.give_back,
        ready.tokens.issue,
        ready.reader.get,
    ):
        for request_id in (request.life.id, STRANGER):
            async with refused(ready, "REQUEST_NOT_FOUND"):
                await act(mallory, request_id)


async def test_locked_people_decide_nothing(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    sam = await ready.caller("sam")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.users, "sam", locked_at=START, lock_reason="lost the laptop")
    for act in (ready.requests.approve, ready.requests.deny, ready.requests.revoke):
        async with refused(ready, "USER_LOCKED"):
            await act(sam, request.life.id)


@pytest.mark.rule("R21")
async def test_after_the_deadline_nobody_decides(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    ready.clock.advance(days=7)
    for decide in (ready.requests.approve, ready.requests.deny):
        async with refused(ready, "TOO_LATE"):
            await decide(await ready.caller("sam"), request.life.id)


@pytest.mark.parametrize("comment", ["x" * 257, "two\nlines", "\u202egnp.exe"])
async def test_comments_that_lie_or_flood(ready: World, comment: str) -> None:
    request = await ready.ask("alice", "db-1")
    for decide in (ready.requests.approve, ready.requests.deny):
        async with refused(ready, "INVALID_COMMENT"):
            await decide(await ready.caller("sam"), request.life.id, comment)


async def test_a_transition_wakes_who_waits(ready: World) -> None:
    with ready.changes.subscribe("sessions") as woken:
        request = await ready.ask("alice", "db-1")
        assert woken.is_set()
        woken.clear()
        with ready.changes.subscribe(request.life.id) as of_request:
            async with refused(ready, "REQUEST_NOT_FOUND"):
                await ready.requests.approve(await ready.caller("mallory"), request.life.id)
            assert not woken.is_set()
            await ready.requests.cancel(await ready.caller("alice"), request.life.id)
            assert woken.is_set()
            assert of_request.is_set()


async def test_the_scope_of_a_grant_may_be_everywhere(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.ungrant(RoleGrant("group", "sre", Role.APPROVER, *HOME))
    await ready.grant(RoleGrant("group", "sre", Role.APPROVER, "*", "*"))
    assert (await ready.requests.approve(await ready.caller("sue"), request.life.id)).life.current_level == 1

"""Of every change its requester hears, whoever was asked, and who watches there; and of nothing anybody else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from approvals.outcomes import EventKind
from gateway.access.model import AccessRequest
from gateway.notices import timing
from gateway.notices.planning import KINDS, Watcher
from gateway.store import tables
from notifiers.model import NoticeKind
from policy.model import PolicyKind
from tests.gateway.access.world import DATABASE_NODE, World
from tests.gateway.notices.conftest import Desk

TELL_NOBODY = {"access_request.window_started"}
"""It begins when it is approved, which is told."""

FIRST, ALL = {"sam", "sue"}, {"sam", "sue", "olga", "pete"}


@dataclass(frozen=True)
class Change:
    """What happens after some have approved, and which approvers had been asked until then."""

    approvals: tuple[str, ...]
    happens: Callable[[World, AccessRequest], Awaitable[object]]
    asked: set[str]


async def approve(world: World, request: AccessRequest) -> None:
    await world.requests.approve(await world.caller("olga"), request.life.id)


async def withdraw(world: World, request: AccessRequest) -> None:
    await world.requests.revoke(await world.caller("sam"), request.life.id, "too early")


async def deny(world: World, request: AccessRequest) -> None:
    await world.requests.deny(await world.caller("sue"), request.life.id, "no")


async def cancel(world: World, request: AccessRequest) -> None:
    await world.requests.cancel(await world.caller("alice"), request.life.id)


async def wait_in_vain(world: World, _request: AccessRequest) -> None:
    world.clock.advance(days=8)
    assert await world.deadlines.tick() == 1


async def revoke(world: World, request: AccessRequest) -> None:
    await world.requests.revoke(await world.caller("root"), request.life.id, "wrong node")


async def give_back(world: World, request: AccessRequest) -> None:
    await world.requests.give_back(await world.caller("alice"), request.life.id)


async def let_end(world: World, _request: AccessRequest) -> None:
    world.clock.advance(hours=8, seconds=1)
    assert await world.deadlines.tick() == 1


async def retag(world: World, _request: AccessRequest) -> None:
    """No policy applies any more."""
    await world.retag(DATABASE_NODE, {})


CHANGES = {
    NoticeKind.APPROVED: Change(("sam",), approve, ALL),
    NoticeKind.APPROVAL_WITHDRAWN: Change(("sam",), withdraw, ALL),
    NoticeKind.REJECTED: Change((), deny, FIRST),
    NoticeKind.FAILED: Change((), retag, FIRST),
    NoticeKind.CANCELLED: Change((), cancel, FIRST),
    NoticeKind.TIMED_OUT: Change(("sam",), wait_in_vain, ALL),
    NoticeKind.REVOKED: Change(("sam", "olga"), revoke, ALL),
    NoticeKind.RETURNED: Change(("sam", "olga"), give_back, ALL),
    NoticeKind.EXPIRED: Change(("sam", "olga"), let_end, ALL),
}


@pytest.fixture
def database_server() -> None:
    """SQLite is enough: whom it is told to follows from values."""


@pytest.mark.rule("R30")
@pytest.mark.parametrize("kind", CHANGES)
async def test_each_change_is_told_to_requester_approvers_and_watchers(desk: Desk, kind: NoticeKind) -> None:
    change = CHANGES[kind]
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    for who in change.approvals:
        await desk.approve(request, who)
        await desk.work()
    await change.happens(desk.world, request)
    told = await desk.work()
    assert sorted(told) == sorted((who, kind.value) for who in {"alice", "#access"} | change.asked)


def test_every_change_of_a_request_is_told_or_meant_not_to_be() -> None:
    happen = {f"access_{kind}" for kind in EventKind} | set(timing.TYPES)
    assert set(KINDS) == happen - TELL_NOBODY
    assert happen >= TELL_NOBODY
    assert set(KINDS.values()) | {NoticeKind.CONFLICT} == set(NoticeKind)


@pytest.mark.rule("R17")
async def test_only_who_may_decide_is_asked(desk: Desk) -> None:
    """A locked user can't sign in, and somebody without the role would be turned away."""
    await desk.reach("mallory")
    await desk.world.put(
        PolicyKind.MANUAL,
        "name: databases\naccessHours: 1\ntargets: [{tag: Workload, values: [db]}]\n"
        "levels: [{approvers: [{user: sam}, {user: olga}, {user: mallory}]}]\n",
    )
    async with desk.world.database.transaction() as tx:
        await desk.world.set(tx.connection, tables.users, "olga", locked_at=desk.world.clock())
    await desk.world.ask("alice", "db-1")
    assert {who for who, _ in await desk.work()} == {"#access", "sam"}


@pytest.mark.rule("R30")
async def test_watchers_hear_of_their_regions_only(ready: World) -> None:
    places = {"#here": {"default", "eu-west-1"}, "#there": {"eu-west-1"}}
    desk = Desk(
        ready, watchers=tuple(Watcher({"place": name}, regions=frozenset(at)) for name, at in places.items())
    )
    await ready.ask("alice", "db-1")
    assert await desk.work() == [("#here", "approval_needed")]

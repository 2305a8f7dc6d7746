"""Reminders, escalation and warnings: told once, to the right people, and not too early (R22)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from approvals.model import ApprovalPlan
from gateway.notices import timing
from gateway.notices.planning import Watcher
from gateway.notices.timers import Timers
from gateway.store import tables
from policy.model import PolicyKind
from tests.gateway.access.world import Hands, World
from tests.gateway.notices.conftest import Desk

PATIENT = """
name: south
accessHours: 2
targets: [{tag: Site, values: [south]}]
levels: [{approvers: [{group: sre}], escalateAfterHours: 4, escalateTo: [{user: olga}]}]
pendingTimeoutHours: 24
remindEveryHours: 3
"""


@pytest.fixture
async def timers(desk: Desk) -> Timers:
    world = desk.world
    await world.node("i-0000000000000ba7c", "batch-1", {"Site": "south"})
    await world.put(PolicyKind.MANUAL, PATIENT)
    return Timers(world.database, world.clock, world.changes)


async def passed(desk: Desk, timers: Timers, **how_long: float) -> list[tuple[str, str]]:
    desk.world.clock.advance(**how_long)
    await timers.look()
    assert await timers.look() == 0
    return sorted(await desk.work())


@pytest.mark.rule("R22")
async def test_who_is_asked_is_reminded_and_then_others_are_asked_as_well(desk: Desk, timers: Timers) -> None:
    await desk.world.ask("bob", "batch-1")
    assert ("sam", "approval_needed") in await desk.work()
    assert await passed(desk, timers, hours=2, minutes=59) == []
    assert await passed(desk, timers, minutes=1) == [
        ("#access", "reminder"), ("sam", "reminder"), ("sue", "reminder")
    ]  # fmt: skip
    assert await passed(desk, timers, hours=1) == [("#access", "escalation"), ("olga", "escalation"),
                                                   ("sam", "escalation"), ("sue", "escalation")]  # fmt: skip
    assert await passed(desk, timers, hours=2) == []
    reminded = await passed(desk, timers, hours=1)
    assert ("olga", "reminder") in reminded
    assert ("bob", "reminder") not in reminded


@pytest.mark.rule("R22")
async def test_the_requester_is_warned_before_time_is_up(desk: Desk, timers: Timers) -> None:
    request = await desk.world.ask("bob", "batch-1")
    await passed(desk, timers, hours=5)  # others are asked as well
    told = await passed(desk, timers, hours=18)
    assert ("bob", "pending_ends_soon") in told
    assert ("sam", "pending_ends_soon") in told
    await desk.approve(request, "sam")
    await desk.work()
    assert await passed(desk, timers, hours=1, minutes=44) == []
    assert await passed(desk, timers, minutes=1) == [("#access", "window_ends_soon"), ("bob", "window_ends_soon")]
    assert await passed(desk, timers, minutes=5) == []


@pytest.mark.rule("R22")
async def test_replicas_that_look_at_once_tell_once(desk: Desk, timers: Timers) -> None:
    """Both may find that it is due before either has told it."""
    for who in ("alice", "bob"):
        await desk.world.ask(who, "batch-1")
    other = Hands(desk.world.url, desk.world.clock)
    second = Timers(other.database, desk.world.clock, other.changes)
    for _ in range(3):
        desk.world.clock.advance(hours=3)
        assert sum(await asyncio.gather(timers.look(), second.look(), timers.look(), second.look())) == 2
    await other.database.close()


async def test_nobody_is_reminded_of_what_is_decided(desk: Desk, timers: Timers) -> None:
    request = await desk.world.ask("bob", "batch-1")
    await desk.world.requests.cancel(await desk.world.caller("bob"), request.life.id)
    await desk.work()
    assert await passed(desk, timers, hours=5) == []


@pytest.mark.rule("R22")
@pytest.mark.usefixtures("timers")
async def test_a_gateway_whose_clock_is_behind_asks_whom_another_ones_escalation_names(desk: Desk) -> None:
    world = desk.world
    ahead = Timers(world.database, lambda: world.clock() + timedelta(seconds=2), world.changes)
    await world.ask("bob", "batch-1")
    await desk.work()
    world.clock.advance(hours=3, minutes=59, seconds=59)
    assert await ahead.look() == 1
    assert ("olga", "escalation") in await desk.work()


async def test_what_timed_out_asks_nobody(desk: Desk, timers: Timers) -> None:
    """Nobody has written that down yet, as after a time without a gateway, or when both are due in one moment."""
    await desk.world.ask("bob", "batch-1")
    await desk.work()
    assert await passed(desk, timers, hours=24) == []
    assert await desk.world.deadlines.tick() == 1
    assert {kind for _, kind in await desk.work()} == {"timed_out"}


@pytest.mark.rule("R22")
async def test_the_mailbox_of_a_group_hears_nothing_before_it_is_asked(ready: World) -> None:
    await ready.put(
        PolicyKind.MANUAL,
        "name: databases\naccessHours: 1\ntargets: [{tag: Workload, values: [db]}]\nremindEveryHours: 3\n"
        "levels: [{approvers: [{user: olga}], escalateAfterHours: 4, escalateTo: [{group: sre}]}]\n",
    )
    desk = Desk(ready, watchers=(Watcher({"place": "sre"}, groups=frozenset({"sre"})),))
    timers = Timers(ready.database, ready.clock, ready.changes)
    await ready.ask("alice", "db-1")
    assert await passed(desk, timers, hours=3) == []
    assert await passed(desk, timers, hours=1) == [("sre", "escalation")]
    assert await passed(desk, timers, hours=3) == [("sre", "reminder")]


async def test_a_level_that_begins_anew_is_told_of_anew(desk: Desk, timers: Timers) -> None:
    request = await desk.world.ask("bob", "batch-1")
    plan = request.life.plan
    assert isinstance(plan, ApprovalPlan)
    told = {timing.REMINDER: request.life.opened_at, timing.ESCALATED: request.life.opened_at}
    later = replace(request.life, opened_at=request.life.opened_at + timedelta(hours=1))
    assert timing.due(later, told, later.opened_at + timedelta(hours=3)) == [timing.REMINDER]
    assert timing.due(later, told, later.opened_at + timedelta(hours=4)) == [timing.ESCALATED]


@pytest.mark.usefixtures("timers")
async def test_an_escalation_comes_alone_and_what_else_is_due_after_it(desk: Desk) -> None:
    request = await desk.world.ask("bob", "batch-1")
    life, plan = request.life, request.life.plan
    assert isinstance(plan, ApprovalPlan)
    often = replace(life, plan=replace(plan, remind_every=timedelta(hours=2)))
    at = life.opened_at + timedelta(hours=4)
    told = {timing.REMINDER: life.opened_at + timedelta(hours=2)}
    assert timing.due(often, told, at) == [timing.ESCALATED]
    assert timing.due(often, {**told, timing.ESCALATED: at}, at + timedelta(seconds=30)) == []
    late = life.opened_at + plan.pending_timeout - timedelta(minutes=1)
    assert timing.due(life, {}, late) == [timing.ESCALATED]
    soon = timing.due(life, {timing.ESCALATED: late}, late + timedelta(seconds=30))
    assert soon == [timing.PENDING_ENDS_SOON]


async def test_a_damaged_record_holds_nobody_up(ready: World, desk: Desk, timers: Timers) -> None:
    first = await desk.world.ask("bob", "batch-1")
    await desk.world.ask("alice", "batch-1")
    async with ready.database.transaction() as tx:
        table = tables.access_requests
        await tx.connection.execute(update(table).where(table.c.id == first.life.id).values(state={"form": 9}))
    desk.world.clock.advance(hours=3)
    assert await timers.look() == 1

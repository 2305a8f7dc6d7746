"""Reminders, escalation and warnings: told once, to the right people, and not too early (R22)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from approvals.model import ApprovalPlan
from gateway.notices import timing
from gateway.notices.timers import Timers
from gateway.store import tables
from policy.model import PolicyKind
from tests.gateway.access.world import World
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
    await desk.work()
    told = await passed(desk, timers, hours=23)
    assert ("bob", "pending_ends_soon") in told
    assert ("sam", "pending_ends_soon") in told
    await desk.approve(request, "sam")
    await desk.work()
    assert await passed(desk, timers, hours=1, minutes=44) == []
    assert await passed(desk, timers, minutes=1) == [("#access", "window_ends_soon"), ("bob", "window_ends_soon")]
    assert await passed(desk, timers, minutes=5) == []


async def test_nobody_is_reminded_of_what_is_decided(desk: Desk, timers: Timers) -> None:
    request = await desk.world.ask("bob", "batch-1")
    await desk.world.requests.cancel(await desk.world.caller("bob"), request.life.id)
    await desk.work()
    assert await passed(desk, timers, hours=5) == []


async def test_a_level_that_begins_anew_is_told_of_anew(desk: Desk, timers: Timers) -> None:
    request = await desk.world.ask("bob", "batch-1")
    plan = request.life.plan
    assert isinstance(plan, ApprovalPlan)
    told = {timing.REMINDER: request.life.opened_at, timing.ESCALATED: request.life.opened_at}
    later = replace(request.life, opened_at=request.life.opened_at + timedelta(hours=1))
    assert timing.due(later, told, later.opened_at + timedelta(hours=3)) == [timing.REMINDER]
    assert timing.due(later, told, later.opened_at + timedelta(hours=4)) == [timing.ESCALATED, timing.REMINDER]


async def test_a_damaged_record_holds_nobody_up(ready: World, desk: Desk, timers: Timers) -> None:
    first = await desk.world.ask("bob", "batch-1")
    await desk.world.ask("alice", "batch-1")
    async with ready.database.transaction() as tx:
        table = tables.access_requests
        await tx.connection.execute(update(table).where(table.c.id == first.life.id).values(state={"form": 9}))
    desk.world.clock.advance(hours=3)
    assert await timers.look() == 1

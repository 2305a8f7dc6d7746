"""A clock that is ahead deletes nothing, whether it was set while the gateway ran or before it started (R28)."""

from datetime import timedelta

import pytest

from gateway.believed_clock import LEAP, WAIT, BelievedClock
from gateway.store.events import Event, append
from tests.gateway.access.world import World

pytestmark = pytest.mark.rule("R28")


def started(world: World) -> BelievedClock:
    return BelievedClock(world.database, world.clock, world.monotonic, worker="test")


async def something_happens(world: World) -> None:
    async with world.database.transaction() as tx:
        await append(tx.connection, Event("node.added", world.clock(), "mi-1", "something happened"))


async def leaps(world: World) -> int:
    return [row[1] for row in (await world.rows())["events"]].count("clock.leapt")


async def test_it_is_believed_once_an_hour(ready: World) -> None:
    believed = started(ready)
    assert await believed.hourly() is None
    assert await believed.hourly() is None
    now = ready.clock.advance(hours=1)
    assert await believed.hourly() == now
    assert await believed.hourly() is None


@pytest.mark.parametrize("by", [timedelta(minutes=2), -timedelta(minutes=2), timedelta(days=800)])
async def test_not_after_it_was_set(ready: World, by: timedelta) -> None:
    believed = started(ready)
    ready.clock.advance(hours=1)
    ready.clock.jump(seconds=by.total_seconds())
    assert await believed.hourly() is None
    now = ready.clock.advance(hours=1)
    assert await believed.hourly() == now


async def test_nor_for_a_day_where_it_was_ahead_from_the_start(ready: World) -> None:
    await something_happens(ready)
    ready.clock.jump(seconds=(LEAP + timedelta(minutes=1)).total_seconds())
    first, second = started(ready), started(ready)
    ready.clock.advance(seconds=1)
    for believed in (first, second):
        assert await believed.hourly() is None
    assert await leaps(ready) == 1
    await something_happens(ready)  # by the wrong clock
    again = started(ready)  # started once more, it finds events of just now
    for _ in range(int(WAIT / timedelta(hours=1)) - 1):
        ready.clock.advance(hours=1)
        assert (await first.hourly(), await second.hourly(), await again.hourly()) == (None, None, None)
    now = ready.clock.advance(hours=1, seconds=1)
    assert await again.hourly() == now
    assert await leaps(ready) == 1


async def test_a_clock_that_is_right_again_is_believed(ready: World) -> None:
    await something_happens(ready)
    ready.clock.jump(days=800)
    assert await started(ready).hourly() is None
    ready.clock.jump(days=-800)
    believed = started(ready)
    now = ready.clock.advance(hours=1)
    assert await believed.hourly() == now


async def test_a_leap_that_lies_in_the_future_hides_no_other(ready: World) -> None:
    await something_happens(ready)
    ready.clock.jump(days=800)
    assert await started(ready).hourly() is None
    ready.clock.jump(days=-400)  # wrong again, otherwise
    believed = started(ready)
    ready.clock.advance(seconds=1)
    assert await believed.hourly() is None
    ready.clock.advance(hours=1)
    assert await believed.hourly() is None
    assert await leaps(ready) == 2


async def test_a_gateway_that_was_off_for_days_waits_for_nothing(ready: World) -> None:
    await something_happens(ready)
    ready.clock.jump(seconds=LEAP.total_seconds())
    believed = started(ready)
    now = ready.clock.advance(hours=1)
    assert await believed.hourly() == now
    assert not await leaps(ready)

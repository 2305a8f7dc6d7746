"""Whether the clock may be believed by who deletes what is old: one that is ahead must not cost a year of records.

A clock that is set while the gateway runs disagrees with the time that passes. One that was wrong before does not,
but it is far past the last event. So is the clock of a gateway that was off for long: both wait a day.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import EVERYWHERE
from gateway.store import events
from gateway.store.database import Database

EVERY: Final = timedelta(hours=1)
_WAS_SET: Final = timedelta(minutes=1)
"""A clock that ran that much faster or slower than time itself was set."""
LEAP: Final = timedelta(days=7)
WAIT: Final = timedelta(days=1)
_LEAPT: Final = "clock.leapt"
_SUBJECT: Final = "clock"
_ALL: Final = ((EVERYWHERE, EVERYWHERE),)
_log = structlog.get_logger("jitgate.clock")


class BelievedClock:
    """For one worker. The events are the memory of all that came before it."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], monotonic: Callable[[], float], *, worker: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._worker = worker
        self._started = clock()
        self._looked = (self._started, monotonic())
        self._knows_start = False

    async def hourly(self) -> datetime | None:
        """Once an hour the time, if it may be believed; None else."""
        if not self._knows_start:
            await self._look_back()
            self._knows_start = True
        now, passed = self._clock(), self._monotonic()
        last_now, last_passed = self._looked
        elapsed = timedelta(seconds=passed - last_passed)
        if elapsed < EVERY:
            return None
        self._looked = (now, passed)
        if abs((now - last_now) - elapsed) > _WAS_SET:
            _log.warning("clock.was_set", by=str((now - last_now) - elapsed), worker=self._worker)
            return None
        async with self._database.read() as connection:
            return None if await _has_leapt(connection, now - WAIT, now) else now

    async def _look_back(self) -> None:
        """Tell of a start that is long after the last event, unless another worker did."""
        async with self._database.transaction() as tx:
            before = await events.last_before(tx.connection, self._started)
            if before is None or self._started - before <= LEAP:
                return
            now = self._clock()
            if await _has_leapt(tx.connection, self._started, now):
                return
            days = (self._started - before).days
            event = events.Event(
                type=_LEAPT,
                at=now,
                subject=_SUBJECT,
                summary=f"The clock is {days} days past the last event: nothing that is old is deleted for a day",
                details={"last_event_at": before.isoformat(), "days": days},
            )
            await events.append(tx.connection, event)


async def _has_leapt(connection: AsyncConnection, since: datetime, now: datetime) -> bool:
    """Not by what lies in the future: a clock that was ahead once may have told of a leap there."""
    wanted = events.Filter(_LEAPT, _SUBJECT, after=since, before=now + timedelta.resolution)
    return bool(await events.page(connection, _ALL, wanted, 1))

"""Time passing: requests that time out or expire, and those that have been kept long enough (R21, R28)."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from approvals.commands import Tick
from approvals.outcomes import Refusal
from approvals.retention import DEFAULT_RETENTION, purgeable_at
from gateway.access.left_alone import LeftAlone
from gateway.access.model import AccessRequest
from gateway.access.transitions import Transitions
from gateway.believed_clock import BelievedClock
from gateway.identity.ports import Clock
from gateway.store import events, outbox, requests
from gateway.store.changes import Changes
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.access")

# The clock may be set, and other replicas make requests: never sleep longer than that.
LONGEST_PAUSE = timedelta(seconds=2)
_SHORTEST_PAUSE = timedelta(milliseconds=100)
_BATCH = 100


class Deadlines:
    """A worker; any number of replicas run one. What is due is in the database, so a killed one loses nothing."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        transitions: Transitions,
        *,
        retention: timedelta = DEFAULT_RETENTION,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for a retention of less than a year."""
        if retention < DEFAULT_RETENTION:
            raise ValueError("access requests are kept for at least 365 days")
        self._database = database
        self._clock = clock
        self._changes = changes
        self._transitions = transitions
        self._retention = retention
        self._believed = BelievedClock(database, clock, monotonic, worker="deadlines")
        self._unreadable = LeftAlone(monotonic)

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        with self._changes.subscribe("requests") as changed:
            while True:
                changed.clear()
                try:
                    await self.tick()
                    await self.purge()
                    pause = await self._pause()
                except Exception:  # noqa: BLE001 - logged; a worker that dies would leave windows open
                    _log.exception("deadlines.failed")
                    pause = LONGEST_PAUSE
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause.total_seconds()):
                        await changed.wait()

    async def tick(self) -> int:
        """Ends what is due; how many requests it ended.

        Each in a transaction of its own, so that none holds the others up. A request that changed in between, or
        that another replica ended, is left alone: the core says so.
        """
        total = 0
        while True:
            async with self._database.read() as connection:
                due = await requests.due(connection, self._clock(), _BATCH, without=self._unreadable.now())
            ended = sum([await self._tick(request_id) for request_id in due])
            total += ended
            if len(due) < _BATCH or not ended:
                return total

    async def _tick(self, request_id: str) -> bool:
        try:
            ended = await self._end(request_id)
        except (ValueError, KeyError, TypeError):
            # One damaged record must not keep all the others open, nor fill the log.
            wait = self._unreadable.failed(request_id)
            _log.exception("deadlines.request_unreadable", request=request_id, again_after_seconds=wait)
            return False
        self._unreadable.succeeded(request_id)
        return ended

    async def _end(self, request_id: str) -> bool:
        async with self._database.transaction() as tx:
            request = await requests.lock(tx.connection, request_id)
            if request is None or request.life.status.is_final:
                return False
            outcome = await self._transitions.change(tx, request, Tick(), self._clock())
            return not isinstance(outcome, Refusal)

    async def purge(self) -> int:
        """Once an hour, deletes the requests that ended longer ago than the retention; how many it deleted."""
        now = await self._believed.hourly()
        if now is None:
            return 0
        purged = 0
        while batch := await self._purge_batch(now):
            purged += batch
        return purged

    async def _purge_batch(self, now: datetime) -> int:
        # What has ended does not change any more: looking for it needs no write lock.
        async with self._database.read() as connection:
            old = await requests.ended_before(connection, now - self._retention, _BATCH)
        gone = [request for request in old if self._is_over(request, now)]
        if not gone:
            return 0
        async with self._database.transaction() as tx:
            purged = await requests.purge(tx.connection, [request.life.id for request in gone])
            await outbox.forget(tx.connection, purged)
            told = [_purged(request, now) for request in gone if request.life.id in purged]
            await events.append(tx.connection, *told)
            return len(told)

    def _is_over(self, request: AccessRequest, now: datetime) -> bool:
        at = purgeable_at(request.life, self._retention)
        return at is not None and at <= now

    async def _pause(self) -> timedelta:
        async with self._database.read() as connection:
            deadline = await requests.earliest_deadline(connection, without=self._unreadable.now())
        if deadline is None:
            return LONGEST_PAUSE
        return max(_SHORTEST_PAUSE, min(deadline - self._clock(), LONGEST_PAUSE))


def _purged(request: AccessRequest, now: datetime) -> events.Event:
    life = request.life
    return events.Event(
        type="access_request.purged",
        at=now,
        subject=life.id,
        summary=f"The gateway deleted the request of {life.requester.user_id} for {request.node_name}: "
        "it was kept long enough",
        account=life.account,
        region=life.region,
        details={"ended_at": life.ended_at.isoformat() if life.ended_at else None},
    )

"""Bringing what waits in one channel to where it belongs: at least once, in order, however long it takes."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from opentelemetry import metrics

from gateway.identity.ports import Clock
from gateway.notices.carriers import Carrier, Outcome
from gateway.notices.expanding import topic_of
from gateway.store import outbox
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.outbox import Due, Lease
from notifiers.errors import NotDelivered, TryAgain, Undeliverable

_log = structlog.get_logger("jitgate.notices")
_deliveries = metrics.get_meter("jitgate").create_counter(
    "jitgate.notices.deliveries", description="Attempts to deliver, by channel and outcome"
)

LEASE: Final = timedelta(seconds=60)
"""Longer than any attempt may take. What a dead process had is tried again after that, or at its next start."""
LONGEST_PAUSE: Final = timedelta(seconds=2)
_SHORTEST_PAUSE: Final = timedelta(milliseconds=20)
SHORTEST_AGAIN, LONGEST_AGAIN = timedelta(seconds=1), timedelta(minutes=5)
LONGEST_WISH: Final = timedelta(hours=1)
"""A service may ask for more time, but not for any time."""
GIVEN_UP_AFTER: Final = timedelta(hours=24)


class Deliverer:
    """A worker for one channel; any number of replicas run one. No other channel waits for it."""

    def __init__(
        self, database: Database, clock: Clock, changes: Changes, channel: str, carrier: Carrier, *, replica: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._channel = channel
        self._carrier = carrier
        self._me = f"{replica}/{channel}"[:64]

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        with contextlib.suppress(Exception):  # else its leases end by themselves
            async with self._database.transaction() as tx:
                await outbox.release(tx.connection, self._me)
        # Each takes what is next when it is free, so that a slow recipient holds nobody up.
        async with asyncio.TaskGroup() as hands:
            for _ in range(self._carrier.concurrency):
                hands.create_task(self._go_on())

    async def _go_on(self) -> None:
        with self._changes.subscribe(topic_of(self._channel)) as changed:
            while True:
                changed.clear()
                try:
                    while await self.deliver():
                        pass
                    pause = await self._pause()
                except Exception:  # noqa: BLE001 - logged; what is not delivered stays where it is
                    _log.exception("notices.channel_failed", channel=self._channel)
                    pause = LONGEST_PAUSE
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause.total_seconds()):
                        await changed.wait()

    async def deliver(self) -> bool:
        """Tries what is due now, as much as goes at once; whether there was anything."""
        now = self._clock()
        async with self._database.read() as connection:
            due_at = await outbox.next_due(connection, self._channel)
        if due_at is None or due_at > now:
            return False
        async with self._database.transaction() as tx:
            mine = Lease(self._me, now + LEASE)
            due = await outbox.lease(tx.connection, self._channel, now, mine, self._carrier.at_once)
        if due:
            await self._note(due, await self._carried(due))
        return bool(due)

    async def _carried(self, due: Sequence[Due]) -> Sequence[Outcome]:
        try:
            return await self._carrier.carry(due)
        except NotDelivered as failure:
            return [failure] * len(due)
        except Exception as failure:  # noqa: BLE001 - a fault in a channel is not the others' trouble
            _log.exception("notices.fault", channel=self._channel, deliveries=[one.id for one in due])
            return [TryAgain(f"a fault in the channel: {type(failure).__name__}")] * len(due)

    async def _note(self, due: Sequence[Due], outcomes: Sequence[Outcome]) -> None:
        async with self._database.transaction() as tx:
            now = self._clock()
            for one, outcome in zip(due, outcomes, strict=True):
                if isinstance(outcome, NotDelivered):
                    again_at = self._again_at(one, outcome, now)
                    await outbox.failed(tx.connection, one, str(outcome), again_at, now)
                    self._tell(one, outcome, again_at)
                else:
                    await outbox.delivered(tx.connection, one, outcome, now)
                    _deliveries.add(1, {"channel": self._channel, "outcome": "delivered"})

    def _again_at(self, tried: Due, failure: NotDelivered, now: datetime) -> datetime | None:
        """After growing, jittered pauses; None: not any more."""
        if isinstance(failure, Undeliverable) or now - tried.created_at >= GIVEN_UP_AFTER:
            return None
        pause = min(SHORTEST_AGAIN * (1 << min(tried.attempts - 1, 20)), LONGEST_AGAIN)
        pause *= random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        if isinstance(failure, TryAgain) and failure.after is not None:
            pause = max(pause, min(timedelta(seconds=failure.after), LONGEST_WISH))
        return now + pause

    def _tell(self, tried: Due, failure: NotDelivered, again_at: datetime | None) -> None:
        outcome = "dead" if again_at is None else "failed"
        _deliveries.add(1, {"channel": self._channel, "outcome": outcome})
        _log.warning(
            f"notices.{outcome}",
            channel=self._channel,
            delivery=tried.id,
            subject=tried.subject,
            attempt=tried.attempts,
            reason=str(failure),
        )

    async def _pause(self) -> timedelta:
        async with self._database.read() as connection:
            due_at = await outbox.next_due(connection, self._channel)
        if due_at is None:
            return LONGEST_PAUSE
        return min(max(due_at - self._clock(), _SHORTEST_PAUSE), LONGEST_PAUSE)

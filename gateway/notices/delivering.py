"""Bringing what waits in one channel to where it belongs: at least once, in order, however long it takes."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from opentelemetry import metrics

from gateway.identity.ports import Clock
from gateway.notices.carriers import Carrier, Outcome
from gateway.notices.expanding import topic_of
from gateway.store import outbox
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.outbox import Due, Lease
from gateway.tasks import end_all, is_told_to_end
from notifiers.errors import NotDelivered, TryAgain, Undeliverable

_log = structlog.get_logger("jitgate.notices")
_deliveries = metrics.get_meter("jitgate").create_counter(
    "jitgate.notices.deliveries", description="Attempts to deliver, by channel and outcome"
)

LEASE: Final = timedelta(seconds=60)
"""Longer than any attempt may take. What a dead process had is tried again after that, or at its next start."""
LONGEST_PAUSE: Final = timedelta(seconds=2)
_SHORTEST_PAUSE: Final = timedelta(milliseconds=100)
SHORTEST_AGAIN, LONGEST_AGAIN = timedelta(seconds=1), timedelta(minutes=5)
LONGEST_WISH: Final = timedelta(hours=1)
"""A service may ask for more time, but not for any time."""
GIVEN_UP_AFTER: Final = timedelta(hours=24)
PARTING_SECONDS: Final = 2.0
"""For what is under way when the gateway ends; less than it waits until it says so again."""


class Deliverer:
    """A worker for one channel; any number of replicas run one. No other channel waits for it.

    A service that asks for time is left alone for so long, by everything that waits for it; each replica learns
    that for itself, and forgets it when it dies.
    """

    def __init__(
        self, database: Database, clock: Clock, changes: Changes, channel: str, carrier: Carrier, *, replica: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._channel = channel
        self._carrier = carrier
        self._me = f"{replica}/{channel}"[:64]
        self._not_before: datetime | None = None
        self._one_looks = asyncio.Lock()
        self._looking = 0
        """Hands that want something to do."""
        self._looks = 0
        self._due_at: datetime | None = None
        """When something was due, as the last look found it; None: nothing waited."""
        self._taken: deque[Sequence[Due]] = deque()
        """For hands that were looking when it was taken."""

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        with contextlib.suppress(Exception):  # else its leases end by themselves
            async with self._database.transaction() as tx:
                await outbox.release(tx.connection, self._me)
        # Each takes what is next when it is free, so that a slow recipient holds nobody up. No TaskGroup: that
        # cancels its tasks once, and a channel's library can swallow it.
        hands = [asyncio.create_task(self._go_on()) for _ in range(self._carrier.concurrency)]
        try:
            await asyncio.gather(*hands)
        except asyncio.CancelledError:
            await asyncio.wait(hands, timeout=PARTING_SECONDS)  # all were told; one has ended
            raise
        finally:
            await end_all(hands)

    async def _go_on(self) -> None:
        with self._changes.subscribe(topic_of(self._channel)) as changed:
            while True:
                changed.clear()
                try:
                    while await self.deliver():
                        pass
                    pause = self._pause()
                except Exception:  # noqa: BLE001 - logged; what is not delivered stays where it is
                    _log.exception("notices.channel_failed", channel=self._channel)
                    pause = LONGEST_PAUSE
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause.total_seconds()):
                        await changed.wait()

    async def deliver(self) -> bool:
        """Tries what is due now, as much as goes at once; whether there was anything."""
        due = await self._take()
        if due:
            await _brought_home(self._carry(due))
        return bool(due)

    async def _carry(self, due: Sequence[Due]) -> None:
        await self._note(due, await self._carried(due))

    async def _take(self) -> Sequence[Due]:
        """What one hand is to do now."""
        looks = self._looks
        self._looking += 1
        try:
            # One looks for all. Else hands that wake together would each write to take something, or to find it
            # taken: on SQLite, which has one writer, everybody who has something to do would wait for them.
            async with self._one_looks:
                if not self._taken and looks == self._looks:
                    await asyncio.sleep(0)  # whoever woke with this one is here by then
                    self._looks += 1
                    self._taken.extend(await self._look())
                return self._taken.popleft() if self._taken else ()
        finally:
            self._looking -= 1

    async def _look(self) -> list[Sequence[Due]]:
        """Takes what is due, for each who is looking at most what goes at once."""
        now = self._clock()
        async with self._database.read() as connection:
            self._due_at = await outbox.next_due(connection, self._channel, now)
        if self._due_at is None or max(self._due_at, self._not_before or now) > now:
            return []
        at_once = self._carrier.at_once
        async with self._database.transaction() as tx:
            mine = Lease(self._me, now + LEASE)
            due = await outbox.lease(tx.connection, self._channel, now, mine, at_once * self._looking)
        return [due[start : start + at_once] for start in range(0, len(due), at_once)]

    async def _carried(self, due: Sequence[Due]) -> Sequence[Outcome]:
        try:
            return await self._carrier.carry(due)
        except NotDelivered as failure:
            return [failure] * len(due)
        except asyncio.CancelledError:
            if is_told_to_end():
                raise
            return [TryAgain("the channel gave up by itself")] * len(due)
        except Exception as failure:  # noqa: BLE001 - a fault in a channel is not the others' trouble
            _log.exception("notices.fault", channel=self._channel, deliveries=[one.id for one in due])
            return [TryAgain(f"a fault in the channel: {type(failure).__name__}")] * len(due)

    async def _note(self, due: Sequence[Due], outcomes: Sequence[Outcome]) -> None:
        async with self._database.transaction() as tx:
            now = self._clock()
            self._heed(outcomes, now)
            for one, outcome in zip(due, outcomes, strict=True):
                if isinstance(outcome, NotDelivered):
                    again_at = self._again_at(one, outcome, now)
                    await outbox.failed(tx.connection, one, str(outcome), again_at, now)
                    self._tell(one, outcome, again_at)
                else:
                    await outbox.delivered(tx.connection, one, outcome, now)
                    _deliveries.add(1, {"channel": self._channel, "outcome": "delivered"})

    def _heed(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Nothing is tried until the service wants to hear of it again, and a little later."""
        wishes = [one.after for one in outcomes if isinstance(one, TryAgain) and one.after is not None]
        if wishes:
            pause = min(timedelta(seconds=max(wishes)), LONGEST_WISH)
            # Else all gateways would come back in the same moment.
            pause *= random.uniform(1, 1.1)  # noqa: S311 - no secret
            self._not_before = max(self._not_before or now, now + pause)

    def _again_at(self, tried: Due, failure: NotDelivered, now: datetime) -> datetime | None:
        """After growing, jittered pauses; None: not any more."""
        if isinstance(failure, Undeliverable) or now - tried.created_at >= GIVEN_UP_AFTER:
            return None
        pause = min(SHORTEST_AGAIN * (1 << min(tried.attempts - 1, 20)), LONGEST_AGAIN)
        pause *= random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return max(now + pause, self._not_before or now)

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

    def _pause(self) -> timedelta:
        """Until it is worth to look again, as far as the last look can tell."""
        if self._due_at is None:
            return LONGEST_PAUSE
        due_in = max(self._due_at, self._not_before or self._due_at) - self._clock()
        return min(max(due_in, _SHORTEST_PAUSE), LONGEST_PAUSE)


async def _brought_home(work: Coroutine[Any, Any, None]) -> None:
    """A gateway that ends in good order gives what is under way a moment to arrive and to be noted: else the next
    start would bring it again, to services that can't tell."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=PARTING_SECONDS)
        finally:
            await end_all([task])
        raise

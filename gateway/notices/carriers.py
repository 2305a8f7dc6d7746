"""The last step of a delivery: what stands in the database is handed to the channel in its own terms."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from gateway.notices.codec import (
    actions_from_json,
    event_from_json,
    notice_from_json,
    recipient_from_json,
    recipient_to_json,
)
from gateway.notices.planning import is_superfluous
from gateway.store import contacts, outbox
from gateway.store.database import Database
from gateway.store.outbox import Due, Message
from notifiers.errors import NotDelivered, TryAgain
from notifiers.events.ports import EventSink
from notifiers.model import Delivery
from notifiers.ports import Notifier

LONGEST_SECONDS: Final = 30.0

T = TypeVar("T")
Outcome = Message | NotDelivered | None
"""Where it stands now (None: nowhere that matters), or why it was not delivered."""


class Carrier(Protocol):
    at_once: int
    """How many deliveries `carry` takes."""
    concurrency: int
    """How many calls of `carry` may run."""

    async def carry(self, due: Sequence[Due]) -> Sequence[Outcome]:
        """One outcome each. Raises NotDelivered for all of them together."""


class NoticeCarrier:
    """Brings notices to people, one at a time."""

    at_once = 1

    def __init__(self, database: Database, notifier: Notifier, kind: str) -> None:
        """`kind`: of the contacts that the notifier can reach."""
        self._database = database
        self._notifier = notifier
        self._kind = kind
        self.concurrency = notifier.concurrency

    async def carry(self, due: Sequence[Due]) -> Sequence[Outcome]:
        [one] = due
        notice = notice_from_json(one.document["notice"])
        recipient = recipient_from_json(one.document["recipient"])
        async with self._database.read() as connection:
            # Where they are now: it may have waited for somebody to correct that.
            if recipient.user_id:
                known = await contacts.addresses(connection, self._kind, {recipient.user_id})
                if recipient.user_id not in known:
                    return [None]
                recipient = replace(recipient, address=known[recipient.user_id])
            first = await outbox.message(connection, one.lane)
            later = await outbox.behind(connection, one.lane, one.event)
        # It was given up once, and what came after it was told: that must not be taken back.
        if first is not None and first.event > one.event:
            return [None]
        latest = notice_from_json(later[-1].document["notice"]) if later else notice
        # What was tried once may have arrived, though nobody could note that: then it is told on.
        if one.attempts == 1 and is_superfluous(recipient.relation, first is not None, latest.subject.status):
            return [None]
        # What stands at an address that was theirs is left alone, and they are told anew.
        standing = first if first is not None and first.recipient["address"] == recipient.address else None
        delivery = Delivery(
            id=one.id,
            notice=notice,
            recipient=recipient,
            actions=actions_from_json(one.document["actions"]),
            first=standing.reference if standing else None,
            attempt=one.attempts,
        )
        receipt = await _in_time(self._notifier.deliver(delivery))
        # Where the first message was deleted, another one has taken its place: that is what changes from now on.
        reference = receipt.reference if receipt.reference is not None else delivery.first
        told = recipient_to_json(recipient)
        return [Message(one.lane, one.channel, one.subject, told, reference, one.event)]


class SinkCarrier:
    """Sends events to programs, as many at once as the sink takes."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.at_once = sink.at_once
        self.concurrency = sink.concurrency

    async def carry(self, due: Sequence[Due]) -> Sequence[Outcome]:
        events = [event_from_json(one.document["event"]) for one in due]
        left = {event.id for event in await _in_time(self._sink.put(events))}
        return [TryAgain("it was not taken") if event.id in left else None for event in events]


async def _in_time(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            return await work
    except TimeoutError:
        raise TryAgain(f"it took longer than {LONGEST_SECONDS:g} seconds") from None

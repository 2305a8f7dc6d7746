"""From what happened to who is told what: once for each event, whatever dies in between."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.model import AccessRequest
from gateway.identity.ports import Clock
from gateway.notices.codec import event_to_json, notice_to_json, recipient_from_json, recipient_to_json
from gateway.notices.people import deciders
from gateway.notices.planning import KINDS, Planned, Reach, Watcher, plan
from gateway.notices.subject import subject_of
from gateway.store import contacts, directory, outbox, requests, turns
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.outbox import Due
from notifiers.model import Notice, NoticeKind, Recipient, Relation

_log = structlog.get_logger("jitgate.notices")

TOPIC: Final = "outbox"
_BATCH: Final = 50
_POLL_SECONDS: Final = 2.0
_SWEEP_SECONDS: Final = 60.0
SWEPT_AFTER: Final = timedelta(hours=1)
"""Longer than gateways on one database should differ in whom they tell, as while a channel is being added."""
_TURN: Final = "outbox"


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """What an operator says of a channel. `kind` is that of the contacts that it can reach."""

    name: str
    kind: str
    notices: frozenset[NoticeKind] = frozenset(NoticeKind)
    watchers: tuple[Watcher, ...] = ()


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """Which events a sink gets: those whose type begins with one of `types`."""

    name: str
    types: tuple[str, ...] = ("",)


class Expander:
    """A worker; any number of replicas run one, and one at a time has the turn."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        channels: Sequence[ChannelPlan],
        sinks: Sequence[SinkPlan],
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._channels = channels
        self._sinks = sinks
        self.public_url = ""
        """Where people's browsers find the web listener, once it listens."""

    def link_to(self, request_id: str) -> str:
        """The address of a request's page; empty: there is none."""
        return f"{self.public_url}/requests/{request_id}" if self.public_url else ""

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        with self._changes.subscribe(*([TOPIC] if self._tells else [])) as changed:
            while True:
                changed.clear()
                try:
                    await self._work()
                except Exception:  # noqa: BLE001 - logged; what is not expanded stays in the outbox
                    _log.exception("notices.not_expanded")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS if self._tells else _SWEEP_SECONDS):
                        await changed.wait()

    @property
    def _tells(self) -> bool:
        return bool(self._channels or self._sinks)

    async def _work(self) -> None:
        if not self._tells:
            await self.sweep()
            return
        while await self.expand():
            pass

    async def sweep(self) -> None:
        """Where nobody is to be told: what is old goes. The rest may be another gateway's, configured already."""
        async with self._database.transaction() as tx:
            await outbox.clear(tx.connection, self._clock() - SWEPT_AFTER)

    async def expand(self) -> bool:
        """Takes the next events, all in one transaction; whether there may be more."""
        async with self._database.read() as connection:
            if not await outbox.untold(connection, 1):
                return False
        async with self._database.transaction() as tx:
            await turns.take(tx.connection, _TURN)
            happened = await outbox.untold(tx.connection, _BATCH)
            due = [
                made for number, event in happened for made in await self._made_of(tx.connection, number, event)
            ]
            # Of several notices to one person at once, the last says it all: it tells the state as it is now.
            wanted = {(one.lane, one.event if "event" in one.document else 0): one for one in due}
            await outbox.add(tx.connection, list(wanted.values()))
            await outbox.told(tx.connection, [number for number, _ in happened])
            names = {one.channel for one in wanted.values()}
            tx.after_commit(lambda: self._changes.publish(*(topic_of(name) for name in names)))
        return len(happened) == _BATCH

    async def _made_of(self, connection: AsyncConnection, number: int, event: Event) -> list[Due]:
        now = self._clock()
        published = {"event": event_to_json(number, event)}
        made = [
            _due(lane_of(sink.name, event.subject), sink.name, number, event.subject, published, now=now)
            for sink in self._sinks
            if event.type.startswith(sink.types)
        ]
        if event.type not in KINDS or not self._channels:
            return made
        try:
            request = await requests.get(connection, event.subject)
            if request is not None:  # else it was purged meanwhile
                made += await self._notices(connection, number, event, request, now)
        except (ValueError, KeyError, TypeError):
            # One damaged record must not keep everybody else from being told.
            _log.exception("notices.request_unreadable", request=event.subject, event_number=number)
        return made

    async def _notices(
        self, connection: AsyncConnection, number: int, event: Event, request: AccessRequest, now: datetime
    ) -> list[Due]:
        life = request.life
        # The clock of the gateway that found somebody to be asked by now may be ahead of this one's.
        at = max(now, event.at)
        asked = await deciders(connection, life, at)
        requester = await directory.get(connection, life.requester.user_id, now)
        subject = subject_of(request, requester.display_name if requester else "")
        link = self.link_to(life.id)
        made = []
        for channel in self._channels:
            told = await _told(connection, channel.name, life.id)
            who = {*asked, *told, life.requester.user_id}
            known = await contacts.addresses(connection, channel.kind, who)
            reach = Reach(channel.notices, channel.watchers, known, told)
            for planned in plan(event.type, life, asked, reach, at):
                comment = str(event.details.get("details", {}).get("comment", ""))
                notice = Notice(planned.kind, number, event.at, event.actor_id, subject, link, comment)
                made.append(self._notice(channel.name, number, planned, notice, now))
        return made

    @staticmethod
    def _notice(channel: str, number: int, planned: Planned, notice: Notice, now: datetime) -> Due:
        document = {
            "notice": notice_to_json(notice),
            "recipient": recipient_to_json(planned.recipient),
            "actions": list(planned.actions),
        }
        request_id = notice.subject.request_id
        lane = lane_of(channel, request_id, _who(planned.recipient))
        return _due(lane, channel, number, request_id, document, now=now)


def _due(lane: str, channel: str, number: int, subject: str, document: Mapping[str, Any], *, now: datetime) -> Due:
    return Due(f"d-{secrets.token_hex(12)}", channel, lane, number, subject, document, 0, now, now)


async def _told(connection: AsyncConnection, channel: str, subject: str) -> frozenset[str]:
    found = map(recipient_from_json, await outbox.recipients(connection, channel, subject))
    return frozenset(one.user_id for one in found if one.relation is Relation.APPROVER)


def _who(recipient: Recipient) -> str:
    address = "" if recipient.user_id else repr(sorted(recipient.address.items()))
    return f"{recipient.relation}/{recipient.user_id}/{address}"


def lane_of(channel: str, subject: str, who: str = "") -> str:
    """Deliveries with the same lane come one after the other."""
    return hashlib.sha256("\0".join((channel, subject, who)).encode()).hexdigest()[:48]


def topic_of(channel: str) -> str:
    """What is published when something new waits in a channel."""
    return f"{TOPIC}:{channel}"

"""What others are still to be told of, who is told what, and what became of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, cast, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.model import Status
from gateway.store import tables
from gateway.store.events import Event, from_row
from gateway.store.upsert import put

_deliveries = tables.deliveries
_ERROR_LENGTH = 512
_messages = tables.messages
_other = _deliveries.alias()  # making one takes longer than asking the database


@dataclass(frozen=True, slots=True)
class Due:
    """One thing to bring to somebody by one channel. `attempts` counts those that began, this one included."""

    id: str
    channel: str
    lane: str
    event: int
    subject: str
    document: Mapping[str, Any]
    attempts: int
    created_at: datetime
    due_at: datetime
    is_dead: bool = False
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """Somebody was told: whom, and where the first message stands (None: it can't be found again)."""

    lane: str
    channel: str
    subject: str
    recipient: Mapping[str, Any]
    reference: Mapping[str, str] | None
    event: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in one channel. `oldest` is when the first of it was written."""

    channel: str
    pending: int
    dead: int
    oldest: datetime | None
    last_error: str


async def untold(connection: AsyncConnection, limit: int) -> list[tuple[int, Event]]:
    """The earliest events that others are to be told of, with their numbers."""
    events = tables.events
    query = select(events).join(tables.outbox, tables.outbox.c.event == events.c.sequence)
    rows = await connection.execute(query.order_by(events.c.sequence).limit(limit))
    return [(row.sequence, from_row(row)) for row in rows]


async def told(connection: AsyncConnection, numbers: Iterable[int]) -> None:
    await connection.execute(delete(tables.outbox).where(tables.outbox.c.event.in_(list(numbers))))


async def clear(connection: AsyncConnection, before: datetime) -> None:
    """Nobody is to be told of what happened before that."""
    events = tables.events.c
    old = select(events.sequence).where(events.sequence == tables.outbox.c.event, events.at < before)
    await connection.execute(delete(tables.outbox).where(old.correlate(tables.outbox).exists()))


async def add(connection: AsyncConnection, new: Sequence[Due]) -> None:
    if new:
        rows = [
            {
                "id": one.id,
                "channel": one.channel,
                "lane": one.lane,
                "event": one.event,
                "subject": one.subject,
                "document": dict(one.document),
                "is_dead": False,
                "attempts": 0,
                "created_at": one.created_at,
                "due_at": one.due_at,
                "last_error": "",
            }
            for one in new
        ]
        await connection.execute(insert(_deliveries), rows)


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose deliveries are for a while, so that nobody else tries them."""

    replica: str
    until: datetime


async def lease(connection: AsyncConnection, channel: str, now: datetime, mine: Lease, limit: int) -> list[Due]:
    """Deliveries of that channel that nobody tries now, the heads of their lanes; they are the caller's now."""
    query = (
        select(_deliveries)
        .where(_is_due(channel, now), _is_head(now))
        .order_by(_deliveries.c.event)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list(await connection.execute(query))
    if rows:
        taken = update(_deliveries).where(_deliveries.c.id.in_([row.id for row in rows]))
        await connection.execute(
            taken.values(leased_until=mine.until, leased_by=mine.replica, attempts=_deliveries.c.attempts + 1)
        )
    return [_due(row, attempts=row.attempts + 1) for row in rows]


async def release(connection: AsyncConnection, replica: str) -> None:
    """What an earlier process of this replica tried, and did not finish."""
    await connection.execute(
        update(_deliveries).where(_deliveries.c.leased_by == replica).values(leased_until=None, leased_by="")
    )


def _is_due(channel: str, now: datetime) -> ColumnElement[bool]:
    return (
        (_deliveries.c.channel == channel)
        & _deliveries.c.is_dead.is_(False)
        & (_deliveries.c.due_at <= now)
        & or_(_deliveries.c.leased_until.is_(None), _deliveries.c.leased_until <= now)
    )


def _is_head(now: datetime) -> ColumnElement[bool]:
    """Nothing earlier waits in its lane, and nothing later is being tried, as when this one had been given up."""
    is_earlier = (_other.c.event < _deliveries.c.event) & _other.c.is_dead.is_(False)
    is_tried = (_other.c.event > _deliveries.c.event) & (_other.c.leased_until > now)
    return ~exists().where(_other.c.lane == _deliveries.c.lane, or_(is_earlier, is_tried))


async def next_due(connection: AsyncConnection, channel: str, now: datetime) -> datetime | None:
    """When the first of what waits may be tried; what somebody tries now counts when their lease is over."""
    at = func.coalesce(_deliveries.c.leased_until, _deliveries.c.due_at)
    query = select(_deliveries.c.leased_until, _deliveries.c.due_at).where(
        _deliveries.c.channel == channel, _deliveries.c.is_dead.is_(False), _is_head(now)
    )
    row = (await connection.execute(query.order_by(at).limit(1))).one_or_none()
    return None if row is None else max(filter(None, row))


async def behind(connection: AsyncConnection, lane: str, event: int) -> list[Due]:
    """What waits in a lane after that event, in order."""
    query = _pending().where(_deliveries.c.lane == lane, _deliveries.c.event > event)
    return [_due(row) for row in await connection.execute(query.order_by(_deliveries.c.event))]


async def message(connection: AsyncConnection, lane: str) -> Message | None:
    row = (await connection.execute(select(_messages).where(_messages.c.lane == lane))).one_or_none()
    return None if row is None else _message(row)


async def recipients(connection: AsyncConnection, channel: str, subject: str) -> list[Mapping[str, Any]]:
    """Who was told about that subject by that channel, or is to be, as it stands in the documents."""
    was = select(_messages.c.recipient).where(_messages.c.channel == channel, _messages.c.subject == subject)
    will = select(_deliveries.c.document).where(
        _deliveries.c.channel == channel, _deliveries.c.subject == subject, _deliveries.c.is_dead.is_(False)
    )
    # In this order: what is delivered in between is found by the second question, as a message.
    waiting = [document["recipient"] for document in await connection.scalars(will)]
    return [*await connection.scalars(was), *waiting]


async def delivered(connection: AsyncConnection, done: Due, new: Message | None, now: datetime) -> bool:
    """It is done, and `new` is where it stands. False: somebody else had done it before."""
    gone = await connection.execute(delete(_deliveries).where(_deliveries.c.id == done.id))
    if new is not None:
        values = {
            "channel": new.channel,
            "subject": new.subject,
            "recipient": dict(new.recipient),
            "reference": None if new.reference is None else dict(new.reference),
            "event": new.event,
            "updated_at": now,
        }
        await put(connection, _messages, {"lane": new.lane}, values)
    return gone.rowcount > 0


async def drop(connection: AsyncConnection, ids: Iterable[str]) -> int:
    """Nobody is told of these; how many there were."""
    result = await connection.execute(delete(_deliveries).where(_deliveries.c.id.in_(list(ids))))
    return result.rowcount


async def failed(
    connection: AsyncConnection, tried: Due, error: str, again_at: datetime | None, now: datetime
) -> None:
    """It is tried again then; None: never, unless somebody asks for it. What is tried anew since is left alone."""
    changed = update(_deliveries).where(_deliveries.c.id == tried.id, _deliveries.c.attempts == tried.attempts)
    await connection.execute(
        changed.values(
            is_dead=again_at is None, due_at=again_at or now, leased_until=None, last_error=error[:_ERROR_LENGTH]
        )
    )


async def retry(connection: AsyncConnection, ids: Sequence[str], now: datetime) -> int:
    """Dead ones, or all of them where none is named, are tried again; how many."""
    again = update(_deliveries).where(_is_dead(ids))
    result = await connection.execute(again.values(is_dead=False, due_at=now, created_at=now, leased_until=None))
    return result.rowcount


async def drop_outdated(connection: AsyncConnection, ids: Sequence[str], kinds: Collection[str]) -> int:
    """Dead ones, or all of them where none is named, of notices of those kinds whose request is pending no more:
    nobody is told of these; how many there were."""
    requests = tables.access_requests.c
    is_pending = exists().where(requests.id == _deliveries.c.subject, requests.status == Status.PENDING)
    kind = _deliveries.c.document["notice"]["kind"].as_string()
    result = await connection.execute(delete(_deliveries).where(_is_dead(ids), kind.in_(kinds), ~is_pending))
    return result.rowcount


def _is_dead(ids: Sequence[str]) -> ColumnElement[bool]:
    is_dead = _deliveries.c.is_dead.is_(True)
    return is_dead & _deliveries.c.id.in_(ids) if ids else is_dead


async def page(
    connection: AsyncConnection, *, dead_only: bool, limit: int, after: tuple[int, str] | None = None
) -> list[Due]:
    """What waits or is dead, the oldest event first."""
    query = select(_deliveries).order_by(_deliveries.c.event, _deliveries.c.id).limit(limit)
    if dead_only:
        query = query.where(_deliveries.c.is_dead.is_(True))
    if after is not None:
        event, row_id = after
        same = (_deliveries.c.event == event) & (_deliveries.c.id > row_id)
        query = query.where(or_(_deliveries.c.event > event, same))
    return [_due(row) for row in await connection.execute(query)]


async def backlog(connection: AsyncConnection) -> list[Backlog]:
    """Per channel that anything waits in, or is dead.

    `last_error` is that of the latest event that was given up, or of the latest that failed where none was.
    """
    dead = func.sum(cast(_deliveries.c.is_dead, Integer))
    errors = select(_other.c.last_error).where(
        _other.c.channel == _deliveries.c.channel, _other.c.last_error != ""
    )
    query = select(
        _deliveries.c.channel,
        func.count().label("all"),
        dead.label("dead"),
        func.min(_deliveries.c.created_at).label("oldest"),
        errors.order_by(_other.c.is_dead.desc(), _other.c.event.desc(), _other.c.id)
        .limit(1)
        .scalar_subquery()
        .label("last_error"),
    ).group_by(_deliveries.c.channel)
    return [
        Backlog(row.channel, row.all - row.dead, row.dead, row.oldest, row.last_error or "")
        for row in await connection.execute(query.order_by(_deliveries.c.channel))
    ]


async def forget(connection: AsyncConnection, subjects: Collection[str]) -> None:
    """Where messages about these stand, and what was given up of them: they are gone themselves."""
    for table in (_messages, _deliveries):
        await connection.execute(delete(table).where(table.c.subject.in_(list(subjects))))


def _pending() -> Select[Any]:
    return select(_deliveries).where(_deliveries.c.is_dead.is_(False))


def _due(row: Row[Any], attempts: int | None = None) -> Due:
    return Due(
        id=row.id,
        channel=row.channel,
        lane=row.lane,
        event=row.event,
        subject=row.subject,
        document=row.document,
        attempts=row.attempts if attempts is None else attempts,
        created_at=row.created_at,
        due_at=row.due_at,
        is_dead=row.is_dead,
        last_error=row.last_error,
    )


def _message(row: Row[Any]) -> Message:
    return Message(row.lane, row.channel, row.subject, row.recipient, row.reference, row.event)

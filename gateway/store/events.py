"""The audit log (R29): appended to in the transaction that made what it tells."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opentelemetry import metrics
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables
from gateway.store.database import Transaction
from gateway.store.scopes import within

# Requests, decisions, sessions, sign-ins: whatever happens is an event, so one counter measures them all (R34).
_counter = metrics.get_meter("jitgate").create_counter("jitgate.events", description="Events, by type and scope")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `type` is "subject.action", for example "session.started"."""

    type: str
    at: datetime
    subject: str  # the id of the request, session, node, user or policy that it is about
    summary: str
    actor_id: str = ""  # empty: the gateway itself
    source_address: str = ""
    account: str = ""
    region: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a reader asks for; what is empty asks for all."""

    type_prefix: str = ""
    subject: str = ""
    after: datetime | None = None  # not before this moment
    before: datetime | None = None  # earlier than this moment


async def page(
    connection: AsyncConnection,
    scopes: Iterable[tuple[str, str]],
    wanted: Filter,
    limit: int,
    older_than: int | None = None,
) -> list[tuple[int, Event]]:
    """Sequence numbers and events that lie in `scopes` ("*" for all), newest first, from before `older_than` on.

    Events of no account are the organization's: ("*", "*") alone shows them.
    """
    events = tables.events
    query = select(events).where(within(events, scopes)).order_by(events.c.sequence.desc()).limit(limit)
    if wanted.type_prefix:
        query = query.where(events.c.type.startswith(wanted.type_prefix, autoescape=True))
    if wanted.subject:
        query = query.where(events.c.subject == wanted.subject)
    if wanted.after is not None:
        query = query.where(events.c.at >= wanted.after)
    if wanted.before is not None:
        query = query.where(events.c.at < wanted.before)
    if older_than is not None:
        query = query.where(events.c.sequence < older_than)
    return [(row.sequence, from_row(row)) for row in await connection.execute(query)]


async def has(connection: AsyncConnection, event_type: str, subject: str, actor_id: str, after: datetime) -> bool:
    """Whether there is an event of that type about that subject by that person, not before that moment."""
    rows = tables.events.c
    query = select(rows.sequence).where(
        rows.subject == subject, rows.type == event_type, rows.actor_id == actor_id, rows.at >= after
    )
    return await connection.scalar(query.limit(1)) is not None


async def last_before(connection: AsyncConnection, moment: datetime) -> datetime | None:
    """When the last event before that moment was."""
    rows = tables.events.c
    query = select(rows.at).where(rows.at < moment).order_by(rows.sequence.desc())
    found: datetime | None = await connection.scalar(query.limit(1))
    return found


async def latest(
    connection: AsyncConnection, subjects: Collection[str], types: Collection[str]
) -> dict[str, dict[str, datetime]]:
    """When something of each of those types last happened, by subject and type."""
    rows = tables.events.c
    query = select(rows.subject, rows.type, func.max(rows.at).label("at")).where(
        rows.subject.in_(list(subjects)), rows.type.in_(list(types))
    )
    found: dict[str, dict[str, datetime]] = {}
    for row in await connection.execute(query.group_by(rows.subject, rows.type)):
        found.setdefault(row.subject, {})[row.type] = row.at
    return found


async def append(connection: AsyncConnection, *new: Event) -> None:
    """Adds events, in order, and that others are to be told. `details` must hold JSON values and no secret."""
    rows = [
        {
            "type": event.type,
            "at": event.at,
            "actor_id": event.actor_id,
            "source_address": event.source_address,
            "account": event.account,
            "region": event.region,
            "subject": event.subject,
            "summary": event.summary,
            "details": event.details,
        }
        for event in new
    ]
    if rows:
        added = insert(tables.events).returning(tables.events.c.sequence, sort_by_parameter_order=True)
        sequences = await connection.scalars(added, rows)
        await connection.execute(insert(tables.outbox), [{"event": sequence} for sequence in sequences])
    if transaction := Transaction.of(connection):
        transaction.after_commit(lambda: _count(new))


def _count(committed: tuple[Event, ...]) -> None:
    for event in committed:
        _counter.add(1, {"type": event.type, "account": event.account, "region": event.region})


def from_row(row: Row[Any]) -> Event:
    return Event(
        type=row.type,
        at=row.at,
        subject=row.subject,
        summary=row.summary,
        actor_id=row.actor_id,
        source_address=row.source_address,
        account=row.account,
        region=row.region,
        details=row.details,
    )

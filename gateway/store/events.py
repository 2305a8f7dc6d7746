"""The audit log (R29): appended to in the transaction that made what it tells."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opentelemetry import metrics
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables
from gateway.store.database import Transaction

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


async def append(connection: AsyncConnection, *new: Event) -> None:
    """Adds events, in order. `details` must hold JSON values and no secret."""
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
        await connection.execute(insert(tables.events), rows)
    if transaction := Transaction.of(connection):
        transaction.after_commit(lambda: _count(new))


def _count(committed: tuple[Event, ...]) -> None:
    for event in committed:
        _counter.add(1, {"type": event.type, "account": event.account, "region": event.region})

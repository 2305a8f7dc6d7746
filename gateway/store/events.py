"""The audit log (R29): appended to in the transaction that made what it tells."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables


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

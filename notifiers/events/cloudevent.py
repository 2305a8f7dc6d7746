"""The form that events have outside: CloudEvents 1.0 in JSON, the same for every sink.

docs/events.md describes it. `SCHEMA` grows when a member changes its meaning or goes; members may be added.
"""

import json
from datetime import UTC
from typing import Any

from notifiers.events.model import PublishedEvent

SCHEMA = "urn:jitgate:event:1"
TYPE_PREFIX = "jitgate."


def to_cloudevent(event: PublishedEvent, source: str) -> dict[str, Any]:
    """`source` names this installation: a URI reference (CloudEvents 1.0, 3.1)."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": TYPE_PREFIX + event.type,
        "subject": event.subject,
        "time": event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "dataschema": SCHEMA,
        "data": data_of(event),
    }


def data_of(event: PublishedEvent) -> dict[str, Any]:
    return {
        "summary": event.summary,
        "actor": event.actor,
        "sourceAddress": event.source_address,
        "account": event.account,
        "region": event.region,
        "details": dict(event.details),
    }


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

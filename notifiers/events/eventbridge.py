"""Events to Amazon EventBridge, by PutEvents, in batches within its limits.

Failed requests and changes of status have detail types like the guide's service; everything else has its own.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aioboto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from notifiers.errors import TryAgain
from notifiers.events.cloudevent import SCHEMA, TYPE_PREFIX, data_of
from notifiers.events.model import PublishedEvent
from notifiers.loopback import is_loopback

SOURCE = "jitgate"
FAILED, STATUS = "Access Request Failed", "Access Request Status Update"
ENTRIES = 10
MAX_BYTES = 256 * 1024
"""Of all entries of one call, as EventBridge counts them."""
_TIME_BYTES = 14
_STATUSES = frozenset(
    f"access_request.{status}"
    for status in ("opened", "approved", "rejected", "cancelled", "timed_out", "revoked", "returned", "expired")
)
_OMITTED = {"omitted": "more than EventBridge takes; the audit log has it"}


class EventBridgeSettings(BaseModel):
    """`event_bus`: a name or an ARN. Credentials come from where AWS's SDKs look for them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_bus: str = Field(default="default", min_length=1, max_length=1600)
    region: str | None = Field(default=None, min_length=1, max_length=64)
    endpoint_url: str | None = None

    @field_validator("endpoint_url")
    @classmethod
    def _encrypted(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        is_here = parts.scheme == "http" and is_loopback(parts.hostname)
        if url is not None and parts.scheme != "https" and not is_here:
            raise ValueError("must be https://: events tell who may enter what")
        return url


class EventBridgeSink:
    at_once = ENTRIES
    concurrency = 1

    def __init__(self, settings: EventBridgeSettings, source: str) -> None:
        """`source` names this installation, in every detail."""
        self._settings = settings
        self._source = source
        self._session = aioboto3.Session()
        self._stack = AsyncExitStack()
        self._opened: Any = None

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        entries = [self._entry(event) for event in events]
        fitting = _fitting(entries)
        answer = await self._call("put_events", Entries=entries[:fitting])
        outcomes = answer["Entries"]
        if len(outcomes) != fitting:
            raise TryAgain(f"EventBridge answered for {len(outcomes)} of {fitting} events")
        sent = zip(events[:fitting], outcomes, strict=True)
        refused = [event for event, outcome in sent if outcome.get("ErrorCode")]
        if len(refused) == fitting:
            raise TryAgain(f"EventBridge took none of {fitting} events: {outcomes[0]['ErrorCode']}")
        return (*refused, *events[fitting:])

    async def check(self) -> str:
        await self._call("describe_event_bus", Name=self._settings.event_bus)
        return f"event bus {self._settings.event_bus} is there"

    async def close(self) -> None:
        await self._stack.aclose()

    async def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return await getattr(await self._client(), operation)(**arguments)
        except ClientError as error:
            raise TryAgain(f"EventBridge refused {operation}: {error.response['Error']['Code']}") from None
        except (BotoCoreError, OSError) as error:
            raise TryAgain(f"EventBridge does not answer: {type(error).__name__}") from None

    async def _client(self) -> Any:
        if self._opened is None:
            self._opened = await self._stack.enter_async_context(
                self._session.client(
                    "events",
                    region_name=self._settings.region,
                    endpoint_url=self._settings.endpoint_url,
                    # Trying again is the outbox's part, which survives a restart.
                    config=Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 1}),
                )
            )
        return self._opened

    def _entry(self, event: PublishedEvent) -> dict[str, Any]:
        entry = self._whole_entry(event)
        return entry if size_of(entry) <= MAX_BYTES else self._whole_entry(replace(event, details=_OMITTED))

    def _whole_entry(self, event: PublishedEvent) -> dict[str, Any]:
        detail = {
            "id": event.id,
            "source": self._source,
            "schema": SCHEMA,
            "type": TYPE_PREFIX + event.type,
            "subject": event.subject,
            **data_of(event),
        }
        return {
            "Time": event.at,
            "Source": SOURCE,
            "DetailType": detail_type(event.type),
            "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
            "EventBusName": self._settings.event_bus,
        }


def detail_type(event_type: str) -> str:
    """For example "Access Request Status Update", or "Session Started" of session.started."""
    if event_type == "access_request.failed":
        return FAILED
    if event_type in _STATUSES:
        return STATUS
    return event_type.replace(".", " ").replace("_", " ").title()


def size_of(entry: dict[str, Any]) -> int:
    """Bytes, as EventBridge counts them."""
    return _TIME_BYTES + sum(len(entry[member].encode()) for member in ("Source", "DetailType", "Detail"))


def _fitting(entries: Sequence[dict[str, Any]]) -> int:
    """How many of the first fit into one call; each by itself does."""
    total = 0
    for number, entry in enumerate(entries):
        total += size_of(entry)
        if total > MAX_BYTES:
            return number
    return len(entries)


def make(settings: Mapping[str, Any], source: str) -> EventBridgeSink:
    """Raises pydantic.ValidationError."""
    return EventBridgeSink(EventBridgeSettings.model_validate(settings), source)

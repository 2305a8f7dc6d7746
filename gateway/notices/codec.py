"""Notices and events as JSON, for the time that they wait."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from gateway.store.events import Event
from notifiers.events.model import PublishedEvent
from notifiers.model import Action, Notice, Recipient

_NOTICE: Final = TypeAdapter(Notice)
_RECIPIENT: Final = TypeAdapter(Recipient)
_EVENT: Final = TypeAdapter(PublishedEvent)


def notice_to_json(notice: Notice) -> dict[str, Any]:
    return dict(_NOTICE.dump_python(notice, mode="json"))


def notice_from_json(value: Mapping[str, Any]) -> Notice:
    """Raises ValueError for what `notice_to_json` did not write."""
    return _NOTICE.validate_python(value)


def recipient_to_json(recipient: Recipient) -> dict[str, Any]:
    return dict(_RECIPIENT.dump_python(recipient, mode="json"))


def recipient_from_json(value: Mapping[str, Any]) -> Recipient:
    """Raises ValueError for what `recipient_to_json` did not write."""
    return _RECIPIENT.validate_python(value)


def actions_from_json(value: list[str]) -> tuple[Action, ...]:
    """Raises ValueError for what is no action."""
    return tuple(map(Action, value))


def event_to_json(number: int, event: Event) -> dict[str, Any]:
    published = PublishedEvent(
        id=f"evt-{number}",
        type=event.type,
        at=event.at,
        subject=event.subject,
        summary=event.summary,
        actor=event.actor_id,
        source_address=event.source_address,
        account=event.account,
        region=event.region,
        details=event.details,
    )
    return dict(_EVENT.dump_python(published, mode="json"))


def event_from_json(value: Mapping[str, Any]) -> PublishedEvent:
    """Raises ValueError for what `event_to_json` did not write."""
    return _EVENT.validate_python(value)

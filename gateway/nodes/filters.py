"""Filter expressions of listings: "name=web-*", "tag:Environment=prod", "tag:Environment", "platform=Linux*"."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.errors import Refused, invalid
from gateway.nodes.model import MAX_TAG_KEY_LENGTH, SSH, Node

MAX_FILTERS = 20
MAX_FILTER_LENGTH = 512

_TAG = "tag:"
_UNSEEN = "unseen"
_LENGTH = re.compile(r"(\d{1,5})([mhd])", re.ASCII)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_PROPERTIES: dict[str, Callable[[Node], str | None]] = {
    "name": lambda node: node.name,
    "id": lambda node: node.id,
    "account": lambda node: node.account,
    "region": lambda node: node.region,
    "connector": lambda node: node.connector,
    "host": lambda node: node.endpoint.host or None,
    "port": lambda node: str(node.endpoint.port) if node.endpoint.host else None,
    "login": lambda node: node.endpoint.login or None,
    "platform": lambda node: node.properties.get("platform"),
    "ssh_version": lambda node: node.properties.get("ssh_version"),
    "agent_version": lambda node: node.properties.get("agent_version"),
    "clock_skew_seconds": lambda node: node.properties.get("clock_skew_seconds"),
    "connected": lambda node: None if node.connector == SSH else "true" if node.attached_to else "false",
    "last_seen": lambda node: _moment(node.last_seen_at),
    "added": lambda node: _moment(node.created_at),
    "locked": lambda node: "true" if node.locked else "false",
    "lock_reason": lambda node: node.lock_reason or None,
}
_WHAT_TO_DO = (
    f"Filter by {', '.join(_PROPERTIES)}, tag:KEY or tag:KEY=VALUE; a * at the end of a value matches a prefix; "
    "unseen=7d is what was not seen for so long, or never."
)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. `value` None asks only whether there is one; a prefix matches what begins with it.

    A tag's key ends at the first "=", so a key with that character can't be filtered by.
    """

    of: Callable[[Node], str | None]
    value: str | None
    is_prefix: bool = False

    def matches(self, node: Node) -> bool:
        actual = self.of(node)
        if actual is None or self.value is None:
            return actual is not None
        return actual.startswith(self.value) if self.is_prefix else actual == self.value


def parse(expressions: Sequence[str], now: datetime) -> tuple[Filter, ...]:
    """Raises Refused INVALID_FIELD naming the expression ("filters[2]") and the part of it that is wrong."""
    if len(expressions) > MAX_FILTERS:
        raise invalid("filters", f"has more than {MAX_FILTERS} expressions", _WHAT_TO_DO)
    return tuple(_parse(f"filters[{index}]", text, now) for index, text in enumerate(expressions))


def matches_all(filters: Iterable[Filter], node: Node) -> bool:
    return all(condition.matches(node) for condition in filters)


def _parse(field: str, text: str, now: datetime) -> Filter:
    if len(text) > MAX_FILTER_LENGTH:
        raise _bad(field, f"is longer than {MAX_FILTER_LENGTH} characters")
    subject, equals, value = text.partition("=")
    if equals and not value:
        raise _bad(field, f"{subject!r} is compared with nothing")
    if subject.startswith(_TAG):
        return _filter(_tag(field, subject.removeprefix(_TAG)), value if equals else None)
    if subject == _UNSEEN:
        return Filter(_seen_since(field, value, now), "false")
    if subject not in _PROPERTIES:
        raise _bad(field, f"unknown property {subject!r}")
    if not equals:
        raise _bad(field, f"{subject!r} needs a value: {subject}=…")
    return _filter(_PROPERTIES[subject], value)


def _tag(field: str, key: str) -> Callable[[Node], str | None]:
    if not 1 <= len(key) <= MAX_TAG_KEY_LENGTH:
        raise _bad(field, f"a tag key has 1 to {MAX_TAG_KEY_LENGTH} characters, not {len(key)}")
    return lambda node: node.tags.get(key)


def _seen_since(field: str, length: str, now: datetime) -> Callable[[Node], str | None]:
    if (written := _LENGTH.fullmatch(length)) is None:
        raise _bad(field, f"{length!r} is no length of time such as 90m, 12h or 7d")
    since = now - int(written[1]) * _UNITS[written[2]]
    return lambda node: "true" if node.last_seen_at is not None and node.last_seen_at > since else "false"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _filter(of: Callable[[Node], str | None], value: str | None) -> Filter:
    if value is not None and value.endswith("*"):
        return Filter(of, value[:-1], is_prefix=True)
    return Filter(of, value)


def _bad(field: str, description: str) -> Refused:
    return invalid(field, description, _WHAT_TO_DO)

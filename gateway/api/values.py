"""Translation of the values that all services share: times, scopes, pages."""

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import Refused, invalid
from jitgate.v1.common_pb2 import PageRequest, Scope

DEFAULT_SCOPE = "default"
DEFAULT_PAGE_SIZE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(value: datetime | None) -> Timestamp | None:
    """A protobuf timestamp, or None, which leaves a field unset."""
    if value is None:
        return None
    result = Timestamp()
    result.FromDatetime(value)
    return result


def from_timestamp(field: str, value: Timestamp) -> datetime:
    """Raises Refused INVALID_FIELD for what no calendar has."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(field, "is no moment between the years 1 and 9999") from error


def from_duration(field: str, value: Duration) -> timedelta:
    """Raises Refused INVALID_FIELD for what is negative, malformed or longer than ten thousand years."""
    try:
        span = value.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise invalid(field, "is no span of time") from error
    if span < timedelta(0):
        raise invalid(field, "is negative")
    return span


def scope(value: Scope) -> tuple[str, str]:
    """Account and Region; "default" where nothing is said (R1)."""
    return value.account or DEFAULT_SCOPE, value.region or DEFAULT_SCOPE


def page(value: PageRequest) -> tuple[int, list[Any]]:
    """Rows wanted, and the sort key of the row to go on after (empty: from the start).

    Raises Refused INVALID_FIELD for a token that `page_token` did not make.
    """
    size = value.size or DEFAULT_PAGE_SIZE
    if not value.token:
        return size, []
    try:
        key = json.loads(base64.urlsafe_b64decode(value.token.encode("ascii")))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or not all(map(_is_sort_key, key)):
        raise foreign_token()
    return size, key


def _is_sort_key(part: object) -> bool:
    """JSON says more than a database takes: halves of characters, NUL."""
    if isinstance(part, str):
        return part.isprintable()
    return isinstance(part, int)


def sort_key(at: datetime, row_id: str) -> tuple[int, str]:
    """Where a listing by time goes on: microseconds since 1970, and the id."""
    return (at - _EPOCH) // timedelta(microseconds=1), row_id


def after(key: list[Any]) -> tuple[datetime, str] | None:
    """What `sort_key` was made from; None where there is no key. Raises Refused INVALID_FIELD."""
    match key:
        case []:
            return None
        case [int(at), str(row_id)] if 0 <= at < 1 << 53:
            return _EPOCH + timedelta(microseconds=at), row_id
    raise foreign_token()


def foreign_token() -> Refused:
    return invalid("page.token", "is not a token of an earlier page", "List again from the start.")


def page_token(*key: str | int) -> str:
    """The token that makes the next page go on after the row with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode("ascii")

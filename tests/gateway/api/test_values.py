"""Times, spans and page tokens that a client can send and no database, clock or calendar takes."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.api import values
from gateway.errors import Refused
from jitgate.v1.common_pb2 import PageRequest


def test_moments_and_spans_are_taken() -> None:
    assert values.from_timestamp("after", Timestamp(seconds=86_400)) == datetime(1970, 1, 2, tzinfo=UTC)
    assert values.from_duration("start", Duration(seconds=1, nanos=500_000_000)) == timedelta(seconds=1.5)


@pytest.mark.parametrize(
    "value",
    [Timestamp(seconds=1 << 62), Timestamp(seconds=-(1 << 62)), Timestamp(nanos=-5), Timestamp(nanos=1 << 30)],
)
def test_no_moment_of_any_calendar_is_refused_by_field(value: Timestamp) -> None:
    with pytest.raises(Refused) as caught:
        values.from_timestamp("started_after", value)
    assert (caught.value.reason, caught.value.fields[0].field) == ("INVALID_FIELD", "started_after")


@pytest.mark.parametrize("value", [Duration(seconds=1 << 62), Duration(seconds=-1)])
def test_no_span_of_time_is_refused_by_field(value: Duration) -> None:
    with pytest.raises(Refused) as caught:
        values.from_duration("start", value)
    assert (caught.value.reason, caught.value.fields[0].field) == ("INVALID_FIELD", "start")


NO_KEYS: tuple[object, ...] = ({}, 3, [None], [[]], ["half of a character: \ud800"], ["a\0b", "c"], [1.5])


@pytest.mark.parametrize(
    "text",
    ["%%%", "e30=", "[]", *(base64.urlsafe_b64encode(json.dumps(key).encode()).decode() for key in NO_KEYS)],
)
def test_a_token_that_nobody_made_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        values.page(PageRequest(token=text))
    assert caught.value.fields[0].field == "page.token"


def test_a_token_goes_on_where_it_was_made() -> None:
    assert values.page(PageRequest(token=values.page_token("web-1", 7))) == (100, ["web-1", 7])

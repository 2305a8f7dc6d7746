"""EventBridge: what it refuses in part, and its limits."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from notifiers.errors import TryAgain
from notifiers.events.eventbridge import MAX_BYTES, EventBridgeSettings, EventBridgeSink, detail_type, size_of
from notifiers.events.model import PublishedEvent

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
EVENT = PublishedEvent("evt-0", "access_request.failed", NOW, "oi-0123456789ab", "failed")


@dataclass
class StandIn:
    """PutEvents as EventBridge has it, but that it refuses what a test names; moto refuses nothing."""

    refused: set[str] = field(default_factory=set)
    forgets: int = 0
    calls: list[list[dict[str, Any]]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        entries = json.loads(await request.read())["Entries"]
        assert len(entries) <= 10
        assert sum(map(size_of, entries)) <= MAX_BYTES
        details = [json.loads(entry["Detail"]) for entry in entries]
        self.calls.append(details)
        self.entries += entries
        outcomes = [
            {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
            if detail["id"] in self.refused
            else {"EventId": "1"}
            for detail in details
        ]
        failed = sum("ErrorCode" in outcome for outcome in outcomes)
        return web.json_response({"Entries": outcomes[self.forgets :], "FailedEntryCount": failed})


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[StandIn]:
    standing = StandIn()
    runner = web.ServerRunner(web.Server(standing.serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    standing.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield standing
    await runner.cleanup()


@pytest.fixture
async def bus() -> AsyncIterator[StandIn]:
    async with running() as standing:
        yield standing


@pytest.fixture
async def sink(bus: StandIn, aws_environment: None) -> AsyncIterator[EventBridgeSink]:
    made = EventBridgeSink(EventBridgeSettings(region="us-east-1", endpoint_url=bus.address), "//here")
    yield made
    await made.close()


def named(*numbers: int, **changes: Any) -> list[PublishedEvent]:
    return [replace(EVENT, id=f"evt-{number}", **changes) for number in numbers]


async def test_only_what_was_refused_is_to_be_tried_again(bus: StandIn, sink: EventBridgeSink) -> None:
    bus.refused = {"evt-1", "evt-3"}
    assert [event.id for event in await sink.put(named(1, 2, 3))] == ["evt-1", "evt-3"]
    bus.refused = set()
    assert list(await sink.put(named(1, 3))) == []


@pytest.mark.rule("R29")
async def test_rules_find_entries_by_what_the_page_says(bus: StandIn, aws_environment: None) -> None:
    settings = EventBridgeSettings(event_bus="audit", region="us-east-1", endpoint_url=bus.address)
    sink = EventBridgeSink(settings, "//here")
    assert list(await sink.put([*named(1), *named(2, type="access_request.approved")])) == []
    await sink.close()
    assert [{name: value for name, value in entry.items() if name != "Detail"} for entry in bus.entries] == [
        {"Time": NOW.timestamp(), "Source": "jitgate", "DetailType": kind, "EventBusName": "audit"}
        for kind in ("Access Request Failed", "Access Request Status Update")
    ]


async def test_when_nothing_was_taken_it_waits(bus: StandIn, sink: EventBridgeSink) -> None:
    bus.refused = {"evt-1", "evt-2"}
    with pytest.raises(TryAgain, match="ThrottlingException"):
        await sink.put(named(1, 2))


async def test_an_answer_that_does_not_tell_of_all_counts_for_none(bus: StandIn, sink: EventBridgeSink) -> None:
    bus.forgets = 1
    with pytest.raises(TryAgain, match="answered for 1 of 2"):
        await sink.put(named(1, 2))


@pytest.mark.parametrize("url", ["http://events.example.com", "http://", "ftp://127.0.0.1", "http://[", ""])
def test_an_endpoint_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint_url"):
        EventBridgeSettings(endpoint_url=url)


async def test_what_does_not_fit_into_one_call_is_left_for_the_next(bus: StandIn, sink: EventBridgeSink) -> None:
    events = named(1, 2, 3, details={"text": "\u00e9" * 60_000})
    left = await sink.put(events)
    assert [event.id for event in left] == ["evt-3"]
    assert list(await sink.put(left)) == []
    assert [[detail["id"] for detail in call] for call in bus.calls] == [["evt-1", "evt-2"], ["evt-3"]]


async def test_an_event_that_is_too_large_goes_without_its_details(bus: StandIn, sink: EventBridgeSink) -> None:
    assert list(await sink.put(named(1, details={"text": "x" * MAX_BYTES}))) == []
    assert "omitted" in bus.calls[0][0]["details"]


@pytest.mark.rule("R29")
@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("access_request.failed", "Access Request Failed"),
        ("access_request.approved", "Access Request Status Update"),
        ("access_request.timed_out", "Access Request Status Update"),
        ("access_request.approval_given", "Access Request Approval Given"),
        ("session.started", "Session Started"),
    ],
)
def test_detail_types(event_type: str, expected: str) -> None:
    assert detail_type(event_type) == expected

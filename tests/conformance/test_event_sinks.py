"""What holds of every event sink (notifiers.events.ports.EventSink)."""

import base64
import io
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aioboto3
import pytest

from notifiers.errors import TryAgain
from notifiers.events.eventbridge import EventBridgeSettings, EventBridgeSink
from notifiers.events.model import PublishedEvent
from notifiers.events.ports import EventSink
from notifiers.events.stdout import StdoutSettings, StdoutSink
from notifiers.events.webhook import WebhookSettings, WebhookSink
from notifiers.standard_output import Writer
from tests.aws.servers import REGION
from tests.notifiers.events.receiver import receiving

NOW = datetime(2027, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)
SOURCE = "//jitgate.example.com"
SECRET = bytes(range(32))
EVENT = PublishedEvent(
    id="evt-17",
    type="access_request.approved",
    at=NOW,
    subject="oi-0123456789ab",
    summary="carol opened access to web-1",
    actor="carol",
    source_address="192.0.2.7",
    account="default",
    region="default",
    details={"status": "Approved", "policy": {"name": "web", "version": 2}},
)
NASTY = replace(EVENT, summary='"\u202e<!channel> \U0001f600\x00\n&quot;', subject="s" * 320)

_numbers = itertools.count()


class Way:
    """A sink, and what arrived where it leads: each event's own members."""

    def __init__(
        self, sink: EventSink, arrived: Callable[[], list[dict[str, Any]]], *, is_envelope: bool = True
    ) -> None:
        """`is_envelope`: what arrives is a CloudEvent; else what EventBridge calls the detail."""
        self.sink = sink
        self.arrived = arrived
        self.is_envelope = is_envelope

    async def put_all(self, events: list[PublishedEvent]) -> None:
        while events:
            now, later = events[: self.sink.at_once], events[self.sink.at_once :]
            events = [*await self.sink.put(now), *later]


@pytest.fixture(params=["stdout", "webhook", "eventbridge"])
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    async with AsyncExitStack() as stack:
        if request.param == "stdout":
            stream = io.BytesIO()
            writer = Writer(stream.write)
            made = Way(StdoutSink(StdoutSettings(), SOURCE, writer), lambda: read_lines(stream))
        elif request.param == "webhook":
            receiver = await stack.enter_async_context(receiving(SECRET, NOW.timestamp()))
            file = tmp_path / "secret"
            file.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
            settings = WebhookSettings(url=receiver.url, secret_files=(file,))
            made = Way(WebhookSink(settings, SOURCE, lambda: NOW), lambda: receiver.events)
        else:
            request.getfixturevalue("aws_environment")
            moto = request.getfixturevalue("moto")
            made = await stack.enter_async_context(EventBridge(moto))
        yield made
        await made.sink.close()


def read_lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class EventBridge:
    """A bus of its own, with a rule that brings its events to an archive that can be counted."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen: list[dict[str, Any]] = []

    async def __aenter__(self) -> Way:
        name = f"bus-{next(_numbers)}"
        self._stack = AsyncExitStack()
        client = await self._stack.enter_async_context(
            aioboto3.Session().client("events", region_name=REGION, endpoint_url=self._address)
        )
        await client.create_event_bus(Name=name)
        settings = EventBridgeSettings(event_bus=name, region=REGION, endpoint_url=self._address)
        sink = EventBridgeSink(settings, SOURCE)
        call = sink._call

        async def watched(operation: str, **arguments: Any) -> Any:
            """What moto took: it has no way to read events back."""
            answer = await call(operation, **arguments)
            if operation == "put_events":
                assert answer["FailedEntryCount"] == 0
                self._seen += [json.loads(entry["Detail"]) for entry in arguments["Entries"]]
            return answer

        sink._call = watched  # type: ignore[method-assign]
        return Way(sink, lambda: self._seen, is_envelope=False)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@pytest.mark.rule("R29")
async def test_an_event_arrives_whole(way: Way) -> None:
    assert list(await way.sink.put([EVENT])) == []
    [event] = way.arrived()
    assert (event["id"], event["type"]) == ("evt-17", "jitgate.access_request.approved")
    assert (event["subject"], event["source"]) == (EVENT.subject, SOURCE)
    data = event.get("data", event)
    assert data["actor"] == "carol"
    assert data["sourceAddress"] == "192.0.2.7"
    assert data["details"] == {"status": "Approved", "policy": {"name": "web", "version": 2}}


@pytest.mark.rule("R29")
async def test_the_form_is_that_of_the_page(way: Way) -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0]) | {"source": SOURCE}
    data = shown["data"]
    event = PublishedEvent(
        id=shown["id"],
        type=shown["type"].removeprefix("jitgate."),
        at=datetime.fromisoformat(shown["time"]),
        subject=shown["subject"],
        summary=data["summary"],
        actor=data["actor"],
        source_address=data["sourceAddress"],
        account=data["account"],
        region=data["region"],
        details=data["details"],
    )
    assert list(await way.sink.put([event])) == []
    kept = {name: shown[name] for name in ("id", "source", "type", "subject")}
    detail = {**kept, "schema": shown["dataschema"], **data}
    assert way.arrived() == [shown if way.is_envelope else detail]


async def test_what_comes_again_has_the_same_id(way: Way) -> None:
    await way.sink.put([EVENT])
    await way.sink.put([EVENT])
    assert [event["id"] for event in way.arrived()] == ["evt-17", "evt-17"]


async def test_order_is_kept_however_many_there_are(way: Way) -> None:
    events = [replace(EVENT, id=f"evt-{number}") for number in range(25)]
    await way.put_all(events)
    assert [event["id"] for event in way.arrived()] == [event.id for event in events]


async def test_text_arrives_as_it_was(way: Way) -> None:
    await way.sink.put([NASTY])
    [event] = way.arrived()
    assert event.get("data", event)["summary"] == NASTY.summary
    assert event["subject"] == NASTY.subject


async def test_a_check_sends_nothing(way: Way) -> None:
    assert await way.sink.check()
    assert way.arrived() == []


@pytest.mark.usefixtures("aws_environment")
@pytest.mark.parametrize("kind", ["webhook", "eventbridge"])
async def test_where_nobody_listens_it_may_be_tried_again(kind: str, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    (tmp_path / "secret").write_text("whsec_" + base64.b64encode(SECRET).decode())
    sink: EventSink
    if kind == "webhook":
        settings = WebhookSettings(url=nowhere + "/a-path", secret_files=(tmp_path / "secret",))
        sink = WebhookSink(settings, SOURCE, lambda: NOW)
    else:
        sink = EventBridgeSink(EventBridgeSettings(region=REGION, endpoint_url=nowhere), SOURCE)
    with pytest.raises(TryAgain) as refused:
        await sink.put([EVENT])
    with pytest.raises(TryAgain):
        await sink.check()
    await sink.close()
    assert "a-path" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_it_says_how_much_it_takes_at_once(way: Way) -> None:
    assert 1 <= way.sink.at_once <= 100
    assert 1 <= way.sink.concurrency <= 100

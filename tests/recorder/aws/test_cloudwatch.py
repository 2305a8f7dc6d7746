"""Session logs in CloudWatch Logs: moto's for what it knows, a stand-in before it for what it never does."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from recorder.aws import Client
from recorder.session_log.batches import MAX_EVENTS
from recorder.session_log.cloudwatch import CloudWatchLogs
from recorder.session_log.ports import LogLine, LogUnavailable
from tests.aws.making import BRIEF, ONCE, logs_client
from tests.aws.trouble import Answer, Call, Troubled, hang, kms_error, none

pytestmark = [pytest.mark.rule("R26"), pytest.mark.usefixtures("aws_environment")]
Ask = Callable[[], Answer]
_numbers = itertools.count()


@pytest.fixture
async def client(troubled_moto: Troubled) -> AsyncIterator[Client]:
    async with logs_client(troubled_moto.url) as made:
        yield made


@pytest.fixture
async def sink(client: Client) -> CloudWatchLogs:
    group = f"/jitgate/{next(_numbers)}"
    await client.call("create_log_group", logGroupName=group)
    return CloudWatchLogs(client, group)


def lines(count: int, size: int = 10) -> list[LogLine]:
    now = int(time.time() * 1000)
    return [LogLine(now + number, json.dumps({"n": number, "text": "x" * size})) for number in range(count)]


async def stored(client: Client, sink: CloudWatchLogs, stream: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = await client.call(
            "get_log_events", logGroupName=sink.group, logStreamName=stream, startFromHead=True, **token
        )
        if not page["events"]:
            return found
        found += [json.loads(event["message"]) for event in page["events"]]
        token = {"nextToken": page["nextForwardToken"]}


def operations(proxy: Troubled) -> list[str]:
    return [call.operation for call in proxy.calls]


async def test_lines_arrive_in_a_stream_that_is_made_once(
    client: Client, sink: CloudWatchLogs, troubled_moto: Troubled
) -> None:
    troubled_moto.calls.clear()
    for batch in (lines(3), lines(2)):
        assert await sink.put("2026/03/02/s-1", batch) == 0
    assert operations(troubled_moto) == ["CreateLogStream", "PutLogEvents", "PutLogEvents"]
    # By their times, which the two batches may share.
    assert sorted(each["n"] for each in await stored(client, sink, "2026/03/02/s-1")) == [0, 0, 1, 1, 2]
    assert await CloudWatchLogs(client, sink.group).put("2026/03/02/s-1", lines(1)) == 0  # of another gateway


async def test_much_goes_in_batches_that_aws_takes(
    client: Client, sink: CloudWatchLogs, troubled_moto: Troubled
) -> None:
    assert await sink.put("many", lines(MAX_EVENTS + 1, 1)) == 0
    assert await sink.put("large", lines(9, 200_000)) == 0
    bodies = [body_of(call) for call in troubled_moto.calls if call.operation == "PutLogEvents"]
    assert [len(body["logEvents"]) for body in bodies] == [MAX_EVENTS, 1, 5, 4]


def body_of(call: Call) -> dict[str, Any]:
    packed = call.headers.get("content-encoding") == "gzip"
    body: dict[str, Any] = json.loads(gzip.decompress(call.body) if packed else call.body)
    return body


async def test_what_is_too_old_or_too_new_is_counted_and_the_rest_arrives(
    client: Client, sink: CloudWatchLogs, troubled_moto: Troubled
) -> None:
    good, new = lines(2)
    assert await sink.put("s", [good, LogLine(new.time_ms + 3 * 3_600_000, "{}")]) == 1
    assert [each["n"] for each in await stored(client, sink, "s")] == [0]
    # moto's index of what is too old is another than the documented one, which is exclusive.
    answers = {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4}

    def partly(call: Call, ask: Ask) -> Answer:
        body = json.dumps({"rejectedLogEventsInfo": answers})
        return Answer(200, {}, body.encode()) if call.operation == "PutLogEvents" else ask()

    troubled_moto.trouble = partly
    assert await sink.put("s", lines(5)) == 3


async def test_a_stream_that_somebody_deleted_is_made_again(client: Client, sink: CloudWatchLogs) -> None:
    await sink.put("s", lines(1))
    await client.call("delete_log_stream", logGroupName=sink.group, logStreamName="s")
    with pytest.raises(LogUnavailable):
        await sink.put("s", lines(1))
    assert await sink.put("s", lines(1)) == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("ResourceNotFoundException", "no such log group"),
        ("AccessDeniedException", "logs:PutLogEvents"),
        ("ThrottlingException", "higher quota"),
        ("ServiceUnavailableException", "ServiceUnavailable"),
    ],
)
async def test_a_refusal_says_what_to_do_and_may_pass(troubled_moto: Troubled, code: str, told: str) -> None:
    async with logs_client(troubled_moto.url, ONCE) as client:
        await client.call("create_log_group", logGroupName=f"/refused/{code}")
        sink = CloudWatchLogs(client, f"/refused/{code}")
        troubled_moto.trouble = lambda _call, _ask: kms_error(code)
        with pytest.raises(LogUnavailable, match=told) as caught:
            await sink.put("s", lines(1))
        assert sink.group in str(caught.value)
        troubled_moto.trouble = none
        assert await sink.put("s", lines(1)) == 0


async def test_a_group_that_is_not_there_is_not_made(client: Client) -> None:
    with pytest.raises(LogUnavailable, match="no such log group"):
        await CloudWatchLogs(client, "/nowhere").put("s", lines(1))


async def test_a_service_that_hangs_is_unavailable(sink: CloudWatchLogs, troubled_moto: Troubled) -> None:
    troubled_moto.trouble = hang
    async with logs_client(troubled_moto.url, BRIEF) as client:
        with pytest.raises(LogUnavailable, match="cannot be reached"):
            await CloudWatchLogs(client, sink.group).put("s", lines(1))

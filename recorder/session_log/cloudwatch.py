"""Session logs in a log group of CloudWatch Logs, a log stream a session."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from recorder.aws import Client, NoAnswer, Patience, SaidNo
from recorder.session_log.batches import batches
from recorder.session_log.ports import LogLine, LogUnavailable

PATIENCE: Final = Patience(connect_seconds=5, silence_seconds=10, total_seconds=30)
_REMEMBERED: Final = 4096
_ADVICE: Final = {
    "ResourceNotFoundException": "there is no such log group; make it, or look at its name, account and Region",
    "AccessDeniedException": "not allowed; look at the role's policies (logs:CreateLogStream, logs:PutLogEvents)",
    "AccessDenied": "not allowed to assume the role; look at its trust policy and its external id",
    "ThrottlingException": "CloudWatch Logs is throttling; ask AWS for a higher quota if this goes on",
}


class CloudWatchLogs:
    """A sink. Streams are made when they are first written to; the group must be there."""

    def __init__(self, client: Client, group: str) -> None:
        self.group = group
        self._client = client
        self._made: OrderedDict[str, None] = OrderedDict()

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        if stream not in self._made:
            await self._make(stream)
        taken = 0
        for batch in batches(lines):
            events = [{"timestamp": line.time_ms, "message": line.text} for line in batch]
            answer = await self._call("put_log_events", logStreamName=stream, logEvents=events)
            taken += len(batch) - _rejected(answer.get("rejectedLogEventsInfo") or {}, len(batch))
        return len(lines) - taken

    async def _make(self, stream: str) -> None:
        with contextlib.suppress(_AlreadyThere):
            await self._call("create_log_stream", logStreamName=stream)
        self._made[stream] = None
        if len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._client.call(operation, logGroupName=self.group, **parameters)
        except NoAnswer as failure:
            raise LogUnavailable(f"log group {self.group}: CloudWatch Logs cannot be reached: {failure}") from None
        except SaidNo as refusal:
            if refusal.code == "ResourceAlreadyExistsException":
                raise _AlreadyThere from None
            self._made.clear()  # a stream that somebody deleted is made again
            advice = _ADVICE.get(refusal.code)
            said = f"{advice} ({refusal})" if advice else str(refusal)
            raise LogUnavailable(f"log group {self.group}: {said}") from None


class _AlreadyThere(Exception):
    """Another try, or another gateway, made the stream."""


def _rejected(info: dict[str, int], count: int) -> int:
    """How many events of a batch AWS did not take, by the three bounds that it answers with."""
    first = max(info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0))
    last = info.get("tooNewLogEventStartIndex", count)
    return count - max(0, last - first)

"""Events on standard output, one line of JSON each, for whatever collects it."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from notifiers.events.cloudevent import encode, to_cloudevent
from notifiers.events.model import PublishedEvent


class StdoutSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StdoutSink:
    at_once = 100

    def __init__(self, settings: StdoutSettings, source: str, stream: IO[str] | None = None) -> None:
        self._source = source
        self._stream = stream

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        lines = "".join(encode(to_cloudevent(event, self._source)).decode() + "\n" for event in events)
        # A pipe that nobody reads must not hold everything else up.
        await asyncio.to_thread(self._write, lines)
        return ()

    async def check(self) -> str:
        return "writes to standard output"

    async def close(self) -> None:
        """There is nothing to give back."""

    def _write(self, lines: str) -> None:
        stream = self._stream or sys.stdout
        stream.write(lines)
        stream.flush()


def make(settings: Mapping[str, Any], source: str) -> StdoutSink:
    """Raises pydantic.ValidationError."""
    return StdoutSink(StdoutSettings.model_validate(settings), source)

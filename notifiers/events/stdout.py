"""Events on standard output, one line of JSON each, for whatever collects it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from notifiers.events.cloudevent import encode, to_cloudevent
from notifiers.events.model import PublishedEvent
from notifiers.standard_output import Writer


class StdoutSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StdoutSink:
    at_once = 100
    concurrency = 1

    def __init__(self, settings: StdoutSettings, source: str, writer: Writer | None = None) -> None:
        self._source = source
        self._writer = writer or Writer()

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        lines = "".join(encode(to_cloudevent(event, self._source)).decode() + "\n" for event in events)
        await self._writer.put(lines)
        return ()

    async def check(self) -> str:
        """Raises TryAgain."""
        await self._writer.put("")
        return "writes to standard output"

    async def close(self) -> None:
        """There is nothing to give back."""


def make(settings: Mapping[str, Any], source: str) -> StdoutSink:
    """Raises pydantic.ValidationError."""
    return StdoutSink(StdoutSettings.model_validate(settings), source)

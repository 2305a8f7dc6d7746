"""What a session's log needs from outside: somewhere for its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from recorder.errors import RecorderError


class LogUnavailable(RecorderError):
    """The lines were not taken; the same call may work later."""


class LogRefused(RecorderError):
    """This session's lines will never be taken."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One JSON object, without a newline, and when it happened, in milliseconds since 1970."""

    time_ms: int
    text: str
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.text.encode()))


class LogSink(Protocol):
    """Takes lines, in order, at least once each."""

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        """Deliver the lines of one session; how many of them were refused for good (too old, too large).

        Raises LogUnavailable, LogRefused.
        """

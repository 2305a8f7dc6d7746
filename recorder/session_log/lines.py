"""What happens in a session, as JSON lines."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from recorder.session_log.ports import LogLine
from recorder.terminal_text import TerminalText

MAX_TEXT: Final = 32 * 1024
"""Characters of output in one line; escaped and in UTF-8 CloudWatch Logs takes them as one event."""
_MAX_UNFINISHED: Final = 8 * 1024
"""Characters without a newline that are waited for; then they are a line."""
_PLAIN: Final = re.compile(r"(?:[^\x00-\x1f\x7f-\x9f]|\r?\n)*")


@dataclass(frozen=True, slots=True)
class Output:
    """A chunk that the node printed."""

    time_ms: int
    is_stderr: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """Chunks that there was no room for."""

    time_ms: int
    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Anything else: `type` and what belongs to it."""

    time_ms: int
    type: str
    more: Mapping[str, Any]


Entry = Output | Dropped | Noted


class Lines:
    """Turns one session's entries into lines; `about` (session, user, node, …) is in each.

    Output is told when its line is finished, as it reads: a corrected command as it was sent, without colours.
    Input is not told at all; what a terminal echoes of it is output.
    """

    def __init__(self, about: Mapping[str, str]) -> None:
        self._about = json.dumps(dict(about), ensure_ascii=False)[:-1]
        self._texts = {False: _Readable(), True: _Readable()}
        self._number = 0
        self._last_ms = 0

    def of(self, entry: Entry) -> Iterator[LogLine]:
        match entry:
            case Output(time_ms, is_stderr, data):
                yield from self._output(time_ms, is_stderr, self._texts[is_stderr].feed(data))
            case Dropped(time_ms, chunks, count):
                yield from self._unfinished(time_ms)
                yield self._line(time_ms, "dropped", {"chunks": chunks, "bytes": count})
            case Noted(time_ms, kind, more):
                yield from self._unfinished(time_ms)
                yield self._line(time_ms, kind, more)

    def _unfinished(self, time_ms: int) -> Iterator[LogLine]:
        for is_stderr, text in self._texts.items():
            yield from self._output(time_ms, is_stderr, text.flush())

    def _output(self, time_ms: int, is_stderr: bool, text: str) -> Iterator[LogLine]:
        for start in range(0, len(text), MAX_TEXT):
            piece = {"stream": "stderr" if is_stderr else "stdout", "output": text[start : start + MAX_TEXT]}
            yield self._line(time_ms, "output", piece)

    def _line(self, time_ms: int, kind: str, more: Mapping[str, Any]) -> LogLine:
        # Who reads in order sees what is missing and what came twice by the number, whatever the clock does.
        self._last_ms = time_ms = max(time_ms, self._last_ms)
        self._number += 1
        moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        own = {"type": kind, "number": self._number, "time": moment.replace("+00:00", "Z"), **more}
        return LogLine(time_ms, f"{self._about}, {json.dumps(own, ensure_ascii=False)[1:]}")


class _Readable:
    """Bytes of a terminal as finished lines; plain text passes by, which is ten times as fast."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._terminal = TerminalText()
        self._unfinished = 0

    def feed(self, data: bytes) -> str:
        text = self._decode(data)
        done = []
        while text:
            piece, text = text[:_MAX_UNFINISHED], text[_MAX_UNFINISHED:]
            done.append(self._finished(piece))
        return "".join(done)

    def flush(self) -> str:
        self._unfinished = 0
        return self._terminal.flush().removesuffix("\n")

    def _finished(self, text: str) -> str:
        first, last = text.find("\n") + 1, text.rfind("\n") + 1
        done = self._terminal.feed(text[:first])
        if self._terminal.at_line_start and _PLAIN.fullmatch(text, first, last):
            done += "\n".join(line.rstrip() for line in text[first:last].split("\n"))
            first = last
        done += self._terminal.feed(text[first:])
        self._unfinished = 0 if done else self._unfinished + len(text)
        if self._unfinished > _MAX_UNFINISHED:
            self._unfinished = 0
            done += self._terminal.flush()
        return done

"""A recording in other forms: asciicast v2, the output's exact bytes, readable text."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from collections.abc import AsyncIterator
from typing import Final

from recorder.events import exit_of, gap_of, resize_of, text_of
from recorder.model import Event, Kind, Stream
from recorder.playback import Playback
from recorder.terminal_text import TerminalText

_AT_A_TIME: Final = 16 * 1024
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN: Final = {Kind.OUTPUT: Stream.OUTPUT, Kind.STDERR: Stream.STDERR, Kind.INPUT_CONTENT: Stream.INPUT}


async def raw_output(playback: Playback, stream: Stream = Stream.OUTPUT) -> AsyncIterator[bytes]:
    """The exact bytes of OUTPUT or STDERR, as they came. Raises what `Playback.events` raises."""
    kind = Kind.OUTPUT if stream is Stream.OUTPUT else Kind.STDERR
    async for event in playback.events():
        if event.kind is kind:
            yield event.payload


async def asciicast(playback: Playback, *, idle_seconds: float | None = None) -> AsyncIterator[bytes]:
    """Lines of an asciicast v2 file. Input shows only where the playback was opened with it.

    The form is UTF-8: characters that a chunk cuts are joined; bytes that are no UTF-8 become U+FFFD, and the
    header counts them (`jitgate.invalid_utf8`), for which the recording is read twice. `idle_seconds` is a hint to
    players. Raises what `Playback.events` raises.
    """
    manifest, session = playback.manifest, playback.manifest.session
    header: dict[str, object] = {
        "version": 2,
        "width": session.columns or 80,
        "height": session.rows or 24,
        "timestamp": int(manifest.started_at.timestamp()),
        "duration": manifest.duration_us / 1_000_000,
        "title": f"{session.user} on {session.node}",
        "env": {"TERM": session.terminal},
        "jitgate": {
            "session": session.session_id,
            "request": session.request_id,
            "user": session.user,
            "node": session.node,
            "ended": manifest.ended,
            "invalid_utf8": await _count_invalid(playback),
        },
    }
    if session.command:
        header["command"] = session.command
    if idle_seconds is not None:
        header["idle_time_limit"] = idle_seconds
    yield _line(header)
    decoders = _Decoders()
    async for event in playback.events():
        for code, text in _cast(event, decoders):
            yield _line([event.time_us / 1_000_000, code, text])
    for kind, text in decoders.rest():
        yield _line([manifest.duration_us / 1_000_000, _code(kind), text])


async def plain_text(playback: Playback) -> AsyncIterator[str]:
    """Readable text of the output: escape sequences applied where they edit a line, and dropped elsewhere.

    Lines end in a newline. What is no output but matters is a line in brackets.
    """
    decoders = _Decoders()
    screen = TerminalText()
    async for event in playback.events():
        if event.kind in (Kind.OUTPUT, Kind.STDERR):
            text = decoders.decode(event)
            for start in range(0, len(text), _AT_A_TIME):
                yield screen.feed(text[start : start + _AT_A_TIME])
                await asyncio.sleep(0)  # what a program prints on purpose takes a millisecond for each KiB
        elif remark := _remark(event):
            yield f"{screen.flush()}[{remark}]\n"
    for kind, text in decoders.rest():
        if kind is not Kind.INPUT_CONTENT:
            yield screen.feed(text)
    yield screen.flush()


class _Decoders:
    """One incremental UTF-8 decoder a stream, so that a character may be cut anywhere."""

    def __init__(self, errors: str = "replace") -> None:
        make = codecs.getincrementaldecoder("utf-8")
        self._each = {kind: make(errors) for kind in _SHOWN}

    def decode(self, event: Event) -> str:
        return self._each[event.kind].decode(event.payload)

    def rest(self) -> list[tuple[Kind, str]]:
        """What a stream that ends within a character leaves."""
        left = [(kind, decoder.decode(b"", final=True)) for kind, decoder in self._each.items()]
        return [(kind, text) for kind, text in left if text]


async def _count_invalid(playback: Playback) -> int:
    decoders = _Decoders("surrogateescape")  # one surrogate for each byte that is no UTF-8
    count = 0
    async for event in playback.events():
        if event.kind in _SHOWN:
            count += _surrogates(decoders.decode(event))
    return count + sum(_surrogates(text) for _, text in decoders.rest())


def _surrogates(text: str) -> int:
    try:
        text.encode()
    except UnicodeEncodeError:
        return sum("\ud800" <= letter <= "\udfff" for letter in text)
    return 0


def _cast(event: Event, decoders: _Decoders) -> list[tuple[str, str]]:
    if event.kind in _SHOWN:
        text = decoders.decode(event)
        return [(_code(event.kind), text)] if text else []
    if event.kind is Kind.RESIZE:
        columns, rows = resize_of(event.payload)
        return [("r", f"{columns}x{rows}")]
    remark = _remark(event)
    return [("m", remark)] if remark else []


def _code(kind: Kind) -> str:
    return "i" if kind is Kind.INPUT_CONTENT else "o"


def _remark(event: Event) -> str:
    """One line, whatever the node called the signal; empty where there is nothing to say."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", _said(event))


def _said(event: Event) -> str:
    if event.kind is Kind.NOTICE:
        return f"notice: {text_of(event.payload)}"
    if event.kind is Kind.GAP:
        _, _, lost, reason = gap_of(event.payload)
        return f"gap: {reason}" + (f" ({lost} bytes)" if lost else "")
    if event.kind is Kind.EXIT:
        status, signal = exit_of(event.payload)
        return f"exit: signal {signal}" if signal else f"exit: status {status}"
    if event.kind is Kind.END:
        return f"end: {text_of(event.payload)}"
    return ""


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ")).encode() + b"\n"

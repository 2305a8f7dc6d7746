"""Replaying a session: the pauses as they were, or shorter; keys to pause, seek and quit."""

import os
import re
import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from enum import Enum, auto

from google.protobuf.duration_pb2 import Duration

from clients.cli import terminal
from clients.cli.text import clean, coloured
from clients.cli.wire.channel import Channel
from jitgate.v1.recording_pb2 import PlayRecordingRequest, PlayRecordingResponse, RecordedEvent

PLAY = "/jitgate.v1.RecordingService/PlayRecording"
STEP_SECONDS = 10.0


class Key(Enum):
    """What the person wants while watching."""

    PAUSE = auto()
    BACK = auto()
    FORTH = auto()
    QUIT = auto()


KEYS = {
    b" ": Key.PAUSE,
    b"\x1b[D": Key.BACK,
    b"\x1bOD": Key.BACK,
    b"\x1b[C": Key.FORTH,
    b"\x1bOC": Key.FORTH,
    b"q": Key.QUIT,
    b"\x03": Key.QUIT,
}


class Seek(Exception):
    """Go on at another point, in seconds since the session's start."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = max(seconds, 0.0)


class Player:
    """Plays one recording on standard output; on a terminal the keys work."""

    def __init__(self, channel: Channel, session_id: str, *, speed: float, idle_limit: float) -> None:
        """`idle_limit`: the longest pause to show, in seconds of the session; 0 for all of it."""
        self._channel = channel
        self._session_id = session_id
        self._speed = speed
        self._idle_limit = idle_limit or float("inf")
        self._keyboard = Keyboard()
        self._screen = terminal.Screen()
        self._has_keys = sys.stdin.isatty() and sys.stdout.isatty()

    def play(self, start: float) -> None:
        """From `start`, in seconds, to the end or until the person quits."""
        with ExitStack() as undo:
            if self._has_keys:
                undo.enter_context(terminal.Raw(0))
                undo.callback(lambda: _write(self._screen.reset() + b"\r\n"))
            seconds: float | None = start
            while seconds is not None:
                seconds = self._play_from(seconds)

    def _play_from(self, start: float) -> float | None:
        """Until the end (None) or until the person wants to be elsewhere.

        Everything before `start` is played at once: a terminal shows what all of its output made of it.
        """
        if self._has_keys:
            _write(self._screen.reset() + b"\x1b[H\x1b[2J")
        at = 0.0
        try:
            for event in self._events():
                moment = event.at.seconds + event.at.nanos / 1e9
                if moment > start:
                    self._pause(max(at, start), moment)
                at = moment
                self._show(event)
        except Seek as seek:
            return seek.seconds
        except KeyboardInterrupt:
            return None
        return None

    def _events(self) -> Iterator[RecordedEvent]:
        wanted = PlayRecordingRequest(session_id=self._session_id, start=Duration())
        for answer in self._channel.stream(PLAY, wanted, PlayRecordingResponse):
            yield from answer.events

    def _show(self, event: RecordedEvent) -> None:
        kind = event.WhichOneof("event")
        if kind in ("output", "error_output"):
            data = event.output or event.error_output
            self._screen.shows(data)
            _write(data)
        elif kind in ("notice", "gap", "exit"):
            what = {"notice": event.notice, "gap": f"gap: {event.gap}", "exit": f"ended: {event.exit}"}[kind]
            end = "\r\n" if self._has_keys else "\n"
            sys.stderr.write(f"{end}{coloured(f'[jit] {clean(what)}', '36', sys.stderr)}{end}")
            sys.stderr.flush()

    def _pause(self, begin: float, end: float) -> None:
        """Waits as long as the session did between two moments, and obeys the keys meanwhile."""
        deadline = time.monotonic() + min(end - begin, self._idle_limit) / self._speed
        if not self._has_keys:
            time.sleep(max(deadline - time.monotonic(), 0))
            return
        while (left := deadline - time.monotonic()) > 0:
            key = self._keyboard.next(left)
            if key is Key.PAUSE:
                stopped = time.monotonic()
                key = self._keyboard.next(None)
                deadline += time.monotonic() - stopped
            done = begin + (end - begin) * (
                1 - max(deadline - time.monotonic(), 0) * self._speed / max(end - begin, 1e-9)
            )
            if key is Key.QUIT:
                raise KeyboardInterrupt
            if key is Key.BACK:
                raise Seek(min(done, end) - STEP_SECONDS)
            if key is Key.FORTH:
                raise Seek(min(max(done, begin), end) + STEP_SECONDS)


class Keyboard:
    """The keys that mean something, one by one, however many come at once."""

    def __init__(self) -> None:
        self._typed: deque[bytes] = deque()

    def next(self, timeout: float | None) -> Key | None:
        """The next of them; None when the time (in seconds) is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._typed:
                if (key := KEYS.get(self._typed.popleft())) is not None:
                    return key
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([0], [], [], left)[0]:
                return None
            typed = os.read(0, 1024)
            if not typed:
                return Key.QUIT
            self._typed.extend(re.findall(rb"\x1b[\[O].|.", typed, re.DOTALL))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

"""One call of an agent that carries a session: offsets, credit and order of its frames. No IO waits in here.

The frames of the agent come in by `received`, those for it go out by `next_frame`; the API moves them. An agent is
not trusted: whatever breaks the contract ends the session, and never holds more memory than the windows allow.
"""

import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from gateway.errors import Refused
from gateway.nodes.agents import errors
from gateway.nodes.ports import Exited, Signalled
from jitgate.v1.agent_pb2 import NodeExit, NodeFrame, ResumeServing, SessionDurable, StartSession
from jitgate.v1.session_pb2 import (
    SESSION_STREAM_MAIN,
    SESSION_STREAM_STDERR,
    SessionData,
    SessionEof,
    SessionWindow,
)

WINDOW_BYTES: Final = 1 << 20
"""What an agent may send ahead of the reader, and so what a paused session holds at most."""
MAX_PAYLOAD: Final = 256 * 1024
MAX_INPUT_CREDIT: Final = 16 << 20
SMALL_FRAME: Final = 4096
SMALL_FRAMES_BURST: Final = 10_000
SMALL_FRAMES_PER_SECOND: Final = 5_000
"""An agent gathers output for a millisecond, so no honest one comes near."""
_LONGEST_SIGNAL: Final = 16
_MAX_MESSAGE: Final = 300


class Pace:
    """How many small frames a session may send, whatever calls carry it."""

    def __init__(self) -> None:
        self._left = float(SMALL_FRAMES_BURST)
        self._at = 0.0

    def take(self, now: float) -> None:
        """Raises Refused BROKEN_FRAMES."""
        self._left = min(SMALL_FRAMES_BURST, self._left + (now - self._at) * SMALL_FRAMES_PER_SECOND)
        self._at = now
        if self._left < 1:
            raise errors.broken("a flood of small frames")
        self._left -= 1


class Carried(Protocol):
    """The session, as the call that carries it sees it. What raises Refused BROKEN_FRAMES ends the session."""

    @property
    def durable(self) -> int:
        """The offset before which the agent need not keep output."""

    def running(self, credit: int) -> int:
        """The agent runs it, and takes `credit` bytes of input; how many of them are used."""

    def not_started(self, message: str) -> None: ...

    def output(self, data: bytes, stderr: bool, end: int) -> None:
        """`end` is the offset after the data. Raises Refused."""

    def exited(self, end: Exited | Signalled, offset: int) -> None:
        """After output up to `offset`. Raises Refused."""

    def granted(self, size: int) -> None:
        """The process has taken so many further bytes of input."""

    def next_input(self, room: int) -> SessionData | None:
        """At most `room` bytes, which are on their way then."""

    def next_eof(self) -> bool:
        """Whether the input ends here; True once a call."""

    def broken(self, refused: Refused) -> None:
        """The agent broke the contract on the call that carries the session."""

    def call_lost(self, serving: "Serving", why: str) -> Refused | None:
        """The call is gone without its agent's fault; what it ends with, should the agent still hear."""


class _Stage(Enum):
    CALLED = auto()
    BEGUN = auto()
    RUNNING = auto()
    EXITED = auto()


class Serving:
    """Used once. Once `is_over`, what still comes is dropped and nothing more is said."""

    def __init__(self, session: Carried, pace: Pace) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called when `next_frame` may have something, or `is_over`; whoever carries the frames sets it."""
        self.is_over = False
        self.refused: Refused | None = None
        """What the call ends with; None: well."""
        self._session = session
        self._pace = pace
        self._stage = _Stage.CALLED
        self._control: deque[NodeFrame] = deque()
        # Output: what is due next, what the agent may still send, what was taken since credit was granted.
        self._offset = self._credit = self._taken = 0
        self._durable_said = 0
        # Input: what may still be sent, what was sent and is not granted again.
        self._input_credit = self._input_used = 0

    @property
    def has_exited(self) -> bool:
        """The agent has said all that it ever will; a session with a grace stays until it may be forgotten."""
        return self._stage is _Stage.EXITED

    # -- what the session says ----------------------------------------------------------------------------------

    def start(self) -> None:
        self._stage, self._credit = _Stage.BEGUN, WINDOW_BYTES
        self.say(NodeFrame(start=StartSession(credit=WINDOW_BYTES)))

    def resume(self, offset: int, oldest: int) -> None:
        """Output goes on at `offset`; the agent has dropped what was before `oldest`."""
        self._stage, self._offset, self._credit, self._durable_said = _Stage.BEGUN, offset, WINDOW_BYTES, oldest
        self.say(NodeFrame(resume=ResumeServing(output_offset=offset, credit=WINDOW_BYTES)))

    def say(self, frame: NodeFrame) -> None:
        if not self.is_over and self._stage is not _Stage.EXITED:
            self._control.append(frame)
            self.wake()

    def took(self, size: int) -> None:
        """The reader took so much of the output: the agent may send as much again."""
        self._taken += size

    def regrant(self) -> None:
        if self._taken >= WINDOW_BYTES // 2 and self._stage is _Stage.RUNNING:
            granted, self._taken = self._taken, 0
            self._credit += granted
            self.say(NodeFrame(window=SessionWindow(credit=granted)))

    def finish(self, refused: Refused | None = None) -> None:
        """The call ends. Again is harmless."""
        if not self.is_over:
            self.is_over, self.refused = True, refused
            self._control.clear()
            self.wake()

    # -- what carries the frames calls --------------------------------------------------------------------------

    def next_frame(self) -> NodeFrame | None:
        """The next frame for the agent; None while there is none."""
        if self.is_over:
            return None
        if self._control:
            return self._control.popleft()
        if self._stage in (_Stage.RUNNING, _Stage.EXITED) and self._session.durable > self._durable_said:
            self._durable_said = self._session.durable
            return NodeFrame(durable=SessionDurable(offset=self._durable_said))
        if self._stage is _Stage.RUNNING:
            room = min(self._input_credit, MAX_PAYLOAD)
            if room and (data := self._session.next_input(room)) is not None:
                self._input_credit -= len(data.payload)
                self._input_used += len(data.payload)
                return NodeFrame(data=data)
            if self._session.next_eof():
                return NodeFrame(eof=SessionEof())
        return None

    def received(self, frame: NodeFrame) -> None:
        """A frame of the agent. Raises Refused BROKEN_FRAMES; the session is lost then."""
        if self.is_over:
            return
        try:
            self._received(frame)
        except Refused as refused:
            self.finish(refused)
            self._session.broken(refused)
            raise

    def lost(self, why: str) -> None:
        """The agent carries the session no more. Again is harmless."""
        if not self.is_over:
            self.finish(self._session.call_lost(self, why))

    # ----------------------------------------------------------------------------------------------------------

    def _received(self, frame: NodeFrame) -> None:
        which = frame.WhichOneof("frame")
        if self._stage in (_Stage.CALLED, _Stage.EXITED):
            raise errors.broken(f"{which} where nothing is to be said")
        is_running = self._stage is _Stage.RUNNING
        if which == "data" and is_running:
            self._output(frame.data)
        elif which == "window" and is_running:
            self._granted(frame.window.credit)
        elif which == "exit" and is_running:
            end = _end_of(frame.exit)
            self._stage = _Stage.EXITED
            self._control.clear()
            self._session.exited(end, self._offset)
        elif which == "running" and not is_running:
            credit = frame.running.credit
            if not 1 <= credit <= MAX_INPUT_CREDIT:
                raise errors.broken(f"a credit of {credit} bytes")
            self._stage = _Stage.RUNNING
            self._input_credit = self._session.running(credit)
            self.wake()
        elif which == "not_started" and not is_running:
            self._session.not_started(printable(frame.not_started.message))
        else:
            raise errors.broken(f"a frame that is not due: {which or 'none that is known'}")

    def _output(self, data: SessionData) -> None:
        size = len(data.payload)
        if not 0 < size <= MAX_PAYLOAD:
            raise errors.broken(f"a frame of {size} bytes of data")
        if data.offset != self._offset:
            raise errors.broken(f"data at offset {data.offset} where {self._offset} was due")
        if size > self._credit:
            raise errors.broken(f"{size} bytes of data with credit for {self._credit}")
        if data.stream not in (SESSION_STREAM_MAIN, SESSION_STREAM_STDERR):
            raise errors.broken("data on a stream that there is not")
        if size < SMALL_FRAME:
            self._pace.take(time.monotonic())
        self._offset += size
        self._credit -= size
        self._session.output(data.payload, data.stream == SESSION_STREAM_STDERR, self._offset)

    def _granted(self, credit: int) -> None:
        """Only what was used comes back, so that windows cost an agent bytes that it has read."""
        if not 1 <= credit <= self._input_used:
            raise errors.broken(f"a credit of {credit} bytes where {self._input_used} were used")
        self._input_used -= credit
        self._input_credit += credit
        self._session.granted(credit)
        self.wake()


def _end_of(exit_frame: NodeExit) -> Exited | Signalled:
    if exit_frame.WhichOneof("result") == "signal":
        name = exit_frame.signal
        if not (0 < len(name) <= _LONGEST_SIGNAL and name.isalnum() and name.isascii()):
            raise errors.broken("an exit by a signal that there is not")
        return Signalled(name)
    if not 0 <= exit_frame.status <= 255:
        raise errors.broken(f"an exit with status {exit_frame.status}")
    return Exited(exit_frame.status)


def printable(text: str) -> str:
    """What an agent says, fit for people's terminals."""
    return "".join(character for character in text if character.isprintable())[:_MAX_MESSAGE]

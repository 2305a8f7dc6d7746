"""A session on a node whose agent serves it: offsets, credit and order of its frames. No IO waits in here.

The frames of the agent come in by `received`, those for it go out by `next_frame`; the API moves them. An agent is
not trusted: whatever breaks the contract ends the session, and never holds more memory than the windows allow.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.errors import Refused
from gateway.nodes.agents import errors
from gateway.nodes.errors import UpstreamFailed
from gateway.nodes.ports import Exited, Lost, OpenUpstream, Signalled, UpstreamEnd, UpstreamSink
from jitgate.v1.agent_pb2 import NodeExit, NodeFrame, StartSession
from jitgate.v1.session_pb2 import (
    SESSION_STREAM_MAIN,
    SESSION_STREAM_STDERR,
    SessionData,
    SessionEof,
    SessionResize,
    SessionSignal,
    SessionWindow,
)

WINDOW_BYTES: Final = 1 << 20
"""What an agent may send ahead of the reader, and so what a paused session holds at most."""
MAX_PAYLOAD: Final = 256 * 1024
MAX_INPUT_CREDIT: Final = 16 << 20
INPUT_HIGH: Final = 128 * 1024
"""More input than this waits for no node: the writer is asked to wait."""
SMALL_FRAME: Final = 4096
SMALL_FRAMES_BURST: Final = 10_000
SMALL_FRAMES_PER_SECOND: Final = 5_000
"""An agent gathers output for a millisecond, so no honest one comes near."""
_START_SECONDS: Final = 10.0
_SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM", "PIPE"})
_MAX_MESSAGE: Final = 300
_LONGEST_SIGNAL: Final = 16


class AgentUpstream:
    """See ports.Upstream."""

    def __init__(self, node_name: str, request: OpenUpstream) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called when `next_frame` may have something; whoever carries the frames sets it."""
        self.is_over = False
        """Nothing more is sent or received."""
        self.broken: Refused | None = None
        """How the agent broke the contract."""
        self._node_name = node_name
        self._kind = request.kind
        self._sink: UpstreamSink | None = None
        self._control: deque[NodeFrame] = deque()
        self._started: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_running = self._is_paused = False
        # Output: what the agent may still send, what was taken since credit was granted, what waits for the sink.
        self._output_offset = 0
        self._output_credit = 0
        self._output_taken = 0
        self._held: deque[tuple[bytes, bool]] = deque()
        self._end: UpstreamEnd | None = None
        self._small_left = float(SMALL_FRAMES_BURST)
        self._small_at = 0.0
        # Input: what waits for the agent's credit.
        self._input: deque[bytes] = deque()
        self._input_size = 0
        self._input_offset = 0
        self._input_credit = 0
        self._input_used = 0
        self._eof_wanted = self._eof_sent = False

    # -- what sessions call (ports.Upstream) --------------------------------------------------------------------

    async def start(self, sink: UpstreamSink) -> None:
        self._sink = sink
        self._started = asyncio.get_running_loop().create_future()
        if self.is_over:
            raise self._failed("its agent went away")
        self._output_credit = WINDOW_BYTES
        self._say(NodeFrame(start=StartSession(credit=WINDOW_BYTES)))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._started
        except TimeoutError:
            self.close()
            raise self._failed("no answer in time") from None
        except BaseException:
            self.close()
            raise

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._deliver()

    def write(self, data: bytes) -> None:
        if not data or not self._is_running or self._eof_wanted or self.is_over or self._end is not None:
            return
        self._input.append(data)
        self._input_size += len(data)
        if self._input_size > INPUT_HIGH:
            self._writable.clear()
        self.wake()

    async def drain(self) -> None:
        await self._writable.wait()

    def write_eof(self) -> None:
        if self._is_running:
            self._eof_wanted = True
            self.wake()

    def resize(self, columns: int, rows: int) -> None:
        if self._is_running:
            self._say(NodeFrame(resize=SessionResize(columns=columns, rows=rows)))

    def signal(self, name: str) -> None:
        if self._is_running and name in _SIGNALS:
            self._say(NodeFrame(signal=SessionSignal(name=name)))

    def close(self) -> None:
        self._sink = None
        self._finish()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    # -- what carries the frames calls --------------------------------------------------------------------------

    def next_frame(self) -> NodeFrame | None:
        """The next frame for the agent; None while there is none."""
        if self.is_over:
            return None
        if self._control:
            return self._control.popleft()
        if self._input and self._input_credit:
            return NodeFrame(data=self._next_input())
        if self._eof_wanted and not self._eof_sent and not self._input:
            self._eof_sent = True
            return NodeFrame(eof=SessionEof())
        return None

    def received(self, frame: NodeFrame) -> None:
        """A frame of the agent. Raises Refused BROKEN_FRAMES; the session is lost then."""
        if self.is_over:
            return
        try:
            self._received(frame)
        except Refused as refused:
            self.broken = refused
            self.gone(refused.message)
            raise

    def gone(self, why: str) -> None:
        """The agent carries the session no more. Again, or after its exit, is harmless."""
        if self._started is not None and not self._started.done():
            self._started.set_exception(self._failed(why))
        if self._end is None:
            self._end = Lost(why)
        self._input.clear()
        self._control.clear()
        self._writable.set()
        self._deliver()
        if self._sink is None or not self._is_running:
            self._finish()

    def hung_up(self) -> bool:
        """Whether the agent has said all that it ever will, or is to say nothing more."""
        return self.is_over or self._end is not None

    # ----------------------------------------------------------------------------------------------------------

    def _received(self, frame: NodeFrame) -> None:
        which = frame.WhichOneof("frame")
        if self._end is not None or self._started is None:
            raise errors.broken(f"{which} where nothing is to be said")
        if which == "data" and self._is_running:
            self._output(frame.data)
        elif which == "window" and self._is_running:
            self._granted(frame.window.credit)
        elif which == "exit" and self._is_running:
            self._end = _end_of(frame.exit)
            self._input.clear()
            self._writable.set()
            self._deliver()
        elif which == "running" and not self._is_running:
            credit = frame.running.credit
            if not 1 <= credit <= MAX_INPUT_CREDIT:
                raise errors.broken(f"a credit of {credit} bytes")
            self._is_running = True
            self._input_credit = credit
            if not self._started.done():
                self._started.set_result(None)
        elif which == "not_started" and not self._is_running:
            self.gone(printable(frame.not_started.message))
        else:
            raise errors.broken(f"a frame that is not due: {which or 'none that is known'}")

    def _output(self, data: SessionData) -> None:
        size = len(data.payload)
        if not 0 < size <= MAX_PAYLOAD:
            raise errors.broken(f"a frame of {size} bytes of data")
        if data.offset != self._output_offset:
            raise errors.broken(f"data at offset {data.offset} where {self._output_offset} was due")
        if size > self._output_credit:
            raise errors.broken(f"{size} bytes of data with credit for {self._output_credit}")
        if data.stream not in (SESSION_STREAM_MAIN, SESSION_STREAM_STDERR):
            raise errors.broken("data on a stream that there is not")
        if size < SMALL_FRAME:
            self._pace(time.monotonic())
        self._output_offset += size
        self._output_credit -= size
        self._held.append((data.payload, data.stream == SESSION_STREAM_STDERR))
        self._deliver()

    def _pace(self, now: float) -> None:
        self._small_left = min(
            SMALL_FRAMES_BURST, self._small_left + (now - self._small_at) * SMALL_FRAMES_PER_SECOND
        )
        self._small_at = now
        if self._small_left < 1:
            raise errors.broken("a flood of small frames")
        self._small_left -= 1

    def _granted(self, credit: int) -> None:
        """Only what was used comes back, so that windows cost an agent bytes that it has read."""
        if not 1 <= credit <= self._input_used:
            raise errors.broken(f"a credit of {credit} bytes where {self._input_used} were used")
        self._input_used -= credit
        self._input_credit += credit
        self.wake()

    def _next_input(self) -> SessionData:
        room = min(self._input_credit, MAX_PAYLOAD)
        chunk = self._input.popleft()
        if len(chunk) > room:
            self._input.appendleft(chunk[room:])
            chunk = chunk[:room]
        offset = self._input_offset
        size = len(chunk)
        self._input_offset += size
        self._input_size -= size
        self._input_credit -= size
        self._input_used += size
        if self._input_size <= INPUT_HIGH // 2:
            self._writable.set()
        return SessionData(offset=offset, payload=chunk)

    def _deliver(self) -> None:
        """To the sink, as far as it wants; what it took, the agent may send again."""
        while self._held and not self._is_paused and self._sink is not None:
            data, stderr = self._held.popleft()
            self._output_taken += len(data)
            self._sink.output(data, stderr)
        if self._output_taken >= WINDOW_BYTES // 2 and self._end is None:
            granted, self._output_taken = self._output_taken, 0
            self._output_credit += granted
            self._say(NodeFrame(window=SessionWindow(credit=granted)))
        if self._end is not None and not self._held and not self._is_paused and self._sink is not None:
            sink, self._sink = self._sink, None
            is_told = self._is_running
            self._finish()
            if is_told:
                sink.ended(self._end)
        elif self._end is not None:
            self.wake()

    def _say(self, frame: NodeFrame) -> None:
        if not self.is_over and self._end is None:
            self._control.append(frame)
            self.wake()

    def _finish(self) -> None:
        if self._started is not None and not self._started.done():
            self._started.set_exception(self._failed("it was ended before it began"))
        self.is_over = True
        self._held.clear()
        self._input.clear()
        self._control.clear()
        self._writable.set()
        self._closed.set()
        self.wake()

    def _failed(self, why: str) -> UpstreamFailed:
        return UpstreamFailed(
            f"{self._node_name} did not start the {self._kind}: {why}",
            "Look into the agent's log on the node: journalctl -u jitgate-agent",
        )


def _end_of(exit_frame: NodeExit) -> UpstreamEnd:
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

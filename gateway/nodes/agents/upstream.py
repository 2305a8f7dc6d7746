"""A session on a node whose agent serves it, through the calls that carry it. No IO waits in here."""

import asyncio
from collections import deque
from typing import Final, Protocol, cast

from gateway.errors import Refused
from gateway.nodes.agents import errors
from gateway.nodes.agents.backlog import Backlog
from gateway.nodes.agents.serving import Pace, Serving
from gateway.nodes.errors import UpstreamFailed
from gateway.nodes.ports import (
    Exited,
    Lost,
    OpenUpstream,
    ResumableSink,
    Signalled,
    UpstreamEnd,
    UpstreamSink,
)
from jitgate.v1.agent_pb2 import NodeFrame, ServeSession
from jitgate.v1.session_pb2 import SessionData, SessionResize, SessionSignal

MAX_KEPT_INPUT: Final = 1 << 20
"""Input that was sent to a node with a grace and may have to be sent again."""
_START_SECONDS: Final = 10.0
_SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM", "PIPE"})


class Keeper(Protocol):
    """Who finds a call for a session that its node keeps, and has it killed there."""

    def resume(self, upstream: "AgentUpstream") -> None:
        """A call is wanted, as soon as there can be one."""

    def kill(self, upstream: "AgentUpstream") -> None: ...

    def forget(self, upstream: "AgentUpstream") -> None:
        """It wants no call any more."""


class AgentUpstream:
    """See ports.ResumableUpstream. A keeper is needed where the request has a grace."""

    def __init__(self, node_id: str, node_name: str, request: OpenUpstream, keeper: Keeper | None = None) -> None:
        self.node_id = node_id
        self.session_id = request.session_id
        self.is_over = False
        """Nothing more is sent or received."""
        self._node_name = node_name
        self._kind = request.kind
        self._keeper = keeper if request.grace_seconds else None
        self._grace = request.grace_seconds if keeper else 0
        self._sink: UpstreamSink | None = None
        self._serving: Serving | None = None
        self._pace = Pace()
        self._started: asyncio.Future[None] | None = None
        self._going = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = asyncio.Event()
        self._is_running = self._is_paused = self._is_suspended = False
        # Output. What the agent may have dropped, what the sink has, the newest that is known, what waits.
        self._oldest = self._delivered = self._newest = 0
        self._held: deque[tuple[bytes, bool]] = deque()
        self._exit: UpstreamEnd | None = None
        """How the process ended, once that was heard for the first time."""
        self._end: UpstreamEnd | None = None
        """Follows what is held."""
        self._is_told = False
        self._why_lost = "it was ended"
        self._is_inherited = False
        self._input = Backlog(keeps=bool(self._grace))
        self._size: SessionResize | None = None

    def inherit(self, recorded: int, recorded_input: int | None, sink: ResumableSink) -> None:
        """It began in an earlier process. It reads nothing until `resume_reading`."""
        self._sink = sink
        self._is_running = self._is_paused = self._is_inherited = True
        self._oldest = self._delivered = self._newest = recorded
        self._input.inherit(recorded_input)

    # -- what sessions call (ports.Upstream) --------------------------------------------------------------------

    async def start(self, sink: UpstreamSink) -> None:
        self._sink = sink
        self._started = asyncio.get_running_loop().create_future()
        if self.is_over or self._serving is None:
            raise self._failed("its agent went away")
        self._serving.start()
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
        if data and self._takes_input():
            self._input.add(data)
            self._wake()

    async def drain(self) -> None:
        await self._input.writable.wait()

    def write_eof(self) -> None:
        if self._is_running:
            self._input.ended = True
            self._wake()

    def resize(self, columns: int, rows: int) -> None:
        if self._is_running:
            self._size = SessionResize(columns=columns, rows=rows)
            self._say(NodeFrame(resize=self._size))

    def signal(self, name: str) -> None:
        if self._is_running and name in _SIGNALS:
            self._say(NodeFrame(signal=SessionSignal(name=name)))

    def close(self) -> None:
        self._sink = None
        self._finish(kill=True)

    async def wait_closed(self) -> None:
        await self._closed.wait()

    # -- and with a grace (ports.ResumableUpstream) -------------------------------------------------------------

    @property
    def grace_seconds(self) -> int:
        return self._grace

    @property
    def oldest(self) -> int:
        return self._oldest

    @property
    def newest(self) -> int:
        return self._newest

    @property
    def input_offset(self) -> int:
        return self._input.end

    def rewind(self, offset: int) -> None:
        if not self._oldest <= offset <= self._newest:
            raise ValueError(f"output from {self._oldest} to {self._newest} can be asked for, not {offset}")
        if self._keeper is None or self.is_over or not self._is_running:
            return
        self._delivered = offset
        self._held.clear()
        self._is_told = False
        if isinstance(self._end, Lost):
            asyncio.get_running_loop().call_soon(self._deliver)
            return
        self._end = None
        self._leave_call(errors.rewound())
        self._keeper.resume(self)

    def acknowledged(self, offset: int) -> None:
        if offset > self._oldest:
            self._oldest = max(self._oldest, min(offset, self._delivered))
            self._wake()

    def release(self) -> None:
        self._sink = None
        # Only a call that has brought the exit ends the session well.
        self._finish(kill=self._end is None or self._serving is None)

    def leave(self) -> None:
        self._sink = None
        self._leave_call(errors.dropped("this gateway lets go of the session"))
        self._finish(kill=not self._is_running)

    # -- what finds calls for it calls --------------------------------------------------------------------------

    @property
    def wants_call(self) -> bool:
        return self._is_running and not self.is_over and not self._is_lost and self._serving is None

    def carried(self, serve: ServeSession) -> Serving:
        """The agent has come for it, with a call that has the place of any before.

        Raises Refused BROKEN_FRAMES, when the session is over for what `serve` says, and UNKNOWN_SESSION.
        """
        if self.is_over or self._is_lost:
            raise errors.unknown_order()
        if not self._is_running:
            self._serving = Serving(self, self._pace)
            return self._serving
        self._leave_call(errors.rewound())
        try:
            self._check(serve)
            self._input.repeat(serve.input_offset)
        except Refused as refused:
            self.broken(refused)
            raise
        if self._is_inherited:
            self._oldest, self._is_inherited = serve.oldest_output, False
        self._newest = serve.newest_output
        # What waits for the sink comes again: a window is whole, or its credit could be none.
        self._held.clear()
        self._end = None
        self._settled.clear()
        self._serving = Serving(self, self._pace)
        self._serving.resume(self._delivered, serve.oldest_output)
        return self._serving

    async def settled(self) -> None:
        """Returns once the agent runs it in the call that `carried` was told of, or that call has ended."""
        await self._settled.wait()

    async def resumed(self) -> None:
        """Returns once its agent runs it for the first time after `inherit`.

        Raises UpstreamFailed when it never will.
        """
        await self._going.wait()
        if self.is_over or self._is_lost:
            raise UpstreamFailed(
                f"{self._node_name} does not go on with the session: {self._why_lost}", "Open a new session."
            )

    def away(self, why: str) -> None:
        """No call carries it, and none will for a while; one that had only begun is dropped."""
        self._leave_call(errors.dropped(why))
        if self._sink is not None and self._end is None and not self._is_told and not self._is_suspended:
            self._is_suspended = True
            self._resumable_sink.suspended(why)

    def gone(self, why: str) -> None:
        """The node has the session no more. Again, or after its exit, is harmless."""
        if self._started is not None and not self._started.done():
            self._started.set_exception(self._failed(why))
        if self._end is None or self._is_told:
            self._end = Lost(why)
            self._why_lost = why
        self._leave_call(None)
        self._input.drop()
        self._going.set()
        self._deliver()
        if self._sink is None or not self._is_running:
            self._finish(kill=True)

    # -- what the call that carries it calls (serving.Carried) --------------------------------------------------

    @property
    def durable(self) -> int:
        return self._oldest

    def running(self, credit: int) -> int:
        self._going.set()
        self._settled.set()
        if not self._is_running:
            self._is_running = True
            if self._started is not None and not self._started.done():
                self._started.set_result(None)
        elif self._size is not None:
            self._say(NodeFrame(resize=self._size))
        if self._is_suspended:
            self._is_suspended = False
            self._resumable_sink.resumed()
        return min(credit, MAX_KEPT_INPUT) if self._grace else credit

    def not_started(self, message: str) -> None:
        if self._is_running:
            raise errors.broken("a session that was running does not start")
        self.gone(message)

    def output(self, data: bytes, stderr: bool, end: int) -> None:
        if end > self._newest:
            if self._exit is not None:
                raise errors.broken("output after the end")
            self._newest = end
        self._held.append((data, stderr))
        self._deliver()

    def exited(self, end: Exited | Signalled, offset: int) -> None:
        if offset != self._newest:
            raise errors.broken(f"an exit at offset {offset} where there is output until {self._newest}")
        if self._exit not in (None, end):
            raise errors.broken("another end than before")
        self._exit = self._end = end
        self._input.drop()
        if not self._grace and self._serving is not None:
            self._serving.finish()
        self._deliver()

    def granted(self, size: int) -> None:
        self._input.taken(size)

    def next_input(self, room: int) -> SessionData | None:
        return self._input.next(room)

    def next_eof(self) -> bool:
        return self._input.next_end()

    def broken(self, refused: Refused) -> None:
        if self._keeper is not None:
            self._keeper.kill(self)
        self.gone(refused.message)

    def call_lost(self, serving: Serving, why: str) -> Refused | None:
        if serving is not self._serving:
            return None
        if self._keeper is None or not self._is_running:
            self.gone(why)
            return None
        self.away(why)
        if self.wants_call:  # the sink may have had enough
            self._keeper.resume(self)
        return errors.dropped(why)

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _is_lost(self) -> bool:
        return isinstance(self._end, Lost)

    @property
    def _resumable_sink(self) -> ResumableSink:
        # Whoever asks for a grace brings one.
        return cast(ResumableSink, self._sink)

    def _takes_input(self) -> bool:
        is_there = self._is_running and not self.is_over and self._end is None and self._exit is None
        return is_there and not self._input.ended

    def _check(self, serve: ServeSession) -> None:
        """Whether what the agent has goes with what it had. Raises Refused BROKEN_FRAMES."""
        oldest, newest = serve.oldest_output, serve.newest_output
        if oldest > self._oldest:
            raise errors.broken(f"output from {oldest} on is kept where {self._oldest} was the oldest")
        if newest < self._newest:
            raise errors.broken(f"output until {newest} is kept where {self._newest} was there already")
        if self._exit is not None and newest > self._newest:
            raise errors.broken("output after the end")

    def _deliver(self) -> None:
        """To the sink, as far as it wants; what it took, the agent may send again."""
        while self._held and not self._is_paused and self._sink is not None:
            data, stderr = self._held.popleft()
            self._delivered += len(data)
            if self._serving is not None:
                self._serving.took(len(data))
            self._sink.output(data, stderr)
        if self._serving is not None:
            self._serving.regrant()
        end, sink = self._end, self._sink
        if end is None or self._held or self._is_paused or sink is None or self._is_told:
            return
        self._is_told = True
        self._is_suspended = False
        if not self._grace or isinstance(end, Lost):
            self._sink = None
            self._finish(kill=True)
        if self._is_running:
            sink.ended(end)

    def _wake(self) -> None:
        if self._serving is not None:
            self._serving.wake()

    def _say(self, frame: NodeFrame) -> None:
        if self._serving is not None and self._end is None:
            self._serving.say(frame)

    def _leave_call(self, refused: Refused | None) -> None:
        serving, self._serving = self._serving, None
        self._settled.set()
        if serving is not None:
            serving.finish(refused)

    def _finish(self, *, kill: bool) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._started is not None and not self._started.done():
            self._started.set_exception(self._failed("it was ended before it began"))
        if self._keeper is not None:
            if kill:
                self._keeper.kill(self)
            self._keeper.forget(self)
        self._leave_call(None)
        self._held.clear()
        self._input.drop()
        self._going.set()
        self._closed.set()

    def _failed(self, why: str) -> UpstreamFailed:
        return UpstreamFailed(
            f"{self._node_name} did not start the {self._kind}: {why}",
            "Look into the agent's log on the node: journalctl -u jitgate-agent",
        )

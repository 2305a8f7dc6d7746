"""Nodes that keep their sessions (gateway.nodes.ports.ResumableUpstream), in this process."""

import asyncio

from gateway.errors import Refused
from gateway.nodes.errors import NodeUnreachable, UpstreamFailed
from gateway.nodes.model import Node
from gateway.nodes.ports import (
    Lost,
    OpenUpstream,
    ResumableSink,
    ResumableUpstream,
    ResumingConnector,
    UpstreamEnd,
    UpstreamSink,
)

KEPT_BYTES = 2 << 20


class Process:
    """What runs on the node, whatever becomes of gateways; the test is the process."""

    def __init__(self, request: OpenUpstream) -> None:
        self.request = request
        self.input = bytearray()
        self.eof = False
        self.size: tuple[int, int] | None = None
        self.log = bytearray()
        self.streams = bytearray()
        self.oldest = 0
        self.exit: UpstreamEnd | None = None
        self.is_killed = False
        self.is_forgotten = False
        self.carried: KeptSession | None = None

    def say(self, data: bytes, *, stderr: bool = False) -> None:
        assert len(self.log) + len(data) - self.oldest <= KEPT_BYTES, "the process would wait"
        self.log += data
        self.streams += bytes([stderr]) * len(data)
        self._flush()

    def exits(self, end: UpstreamEnd) -> None:
        self.exit = end
        self._flush()

    def kill(self) -> None:
        self.is_killed = True

    def chunk(self, offset: int, at_most: int) -> tuple[bytes, bool]:
        """Output of one stream."""
        stream = self.streams[offset]
        end = offset
        while end < min(len(self.log), offset + at_most) and self.streams[end] == stream:
            end += 1
        return bytes(self.log[offset:end]), bool(stream)

    def _flush(self) -> None:
        if self.carried is not None:
            self.carried.deliver()


class KeptSession:
    """The gateway's end. Cut off from its node it takes input, and hears nothing."""

    def __init__(self, nodes: "KeptNodes", process: Process, position: int = 0) -> None:
        self.process = process
        self.is_started = self.is_closed = False
        self.refuses_start: Refused | None = None
        self.at_most = 1 << 16
        self._nodes = nodes
        self._sink: ResumableSink | None = None
        self._position = position
        self._paused = self._told = self._is_away = False
        self._pending = bytearray()
        self._pending_eof = False

    @property
    def grace_seconds(self) -> int:
        return self.process.request.grace_seconds

    @property
    def oldest(self) -> int:
        return self.process.oldest

    @property
    def newest(self) -> int:
        return len(self.process.log)

    @property
    def input_offset(self) -> int:
        return len(self.process.input) + len(self._pending)

    async def start(self, sink: UpstreamSink) -> None:
        if self.refuses_start is not None:
            raise self.refuses_start
        self.is_started = True
        self.run(sink)  # type: ignore[arg-type]  # whoever asks for a grace brings one that hears of it

    def run(self, sink: ResumableSink) -> None:
        self._sink = sink
        self.process.carried = self
        self.deliver()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self.deliver()

    def write(self, data: bytes) -> None:
        if not self.is_closed and self.process.exit is None:
            self._pending += data
            self._apply()

    async def drain(self) -> None:
        while self._is_away and self._pending:
            await asyncio.sleep(0.005)

    def write_eof(self) -> None:
        self._pending_eof = True
        self._apply()

    def resize(self, columns: int, rows: int) -> None:
        self.process.size = columns, rows

    def signal(self, name: str) -> None: ...

    def close(self) -> None:
        self._sink = None
        self.is_closed = True
        self._nodes.end(self._nodes.node_id, self.process.request.session_id)

    async def wait_closed(self) -> None: ...

    def rewind(self, offset: int) -> None:
        if not self.oldest <= offset <= len(self.process.log):
            raise ValueError(f"{offset} is not kept")
        self._position = offset
        self._told = False
        asyncio.get_running_loop().call_soon(self.deliver)

    def acknowledged(self, offset: int) -> None:
        assert offset <= self._position
        self.process.oldest = max(self.process.oldest, offset)

    def release(self) -> None:
        assert self.process.exit is not None
        self._sink = None
        self.process.is_forgotten = True

    def leave(self) -> None:
        self._sink = None
        self._pending.clear()

    # What the network does.

    def cut(self) -> None:
        self._is_away = True
        if self._sink is not None:
            self._sink.suspended("the connection was reset")

    def back(self) -> None:
        self._is_away = False
        self._apply()
        if self._sink is not None:
            self._sink.resumed()
        self.deliver()

    def lose(self) -> None:
        """The node has it no more."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.ended(Lost("the agent has it no more"))

    def deliver(self) -> None:
        process = self.process
        while self._sink is not None and not self._paused and not self._is_away:
            if self._position < len(process.log):
                data, stderr = process.chunk(self._position, self.at_most)
                self._position += len(data)
                self._sink.output(data, stderr)
            elif process.exit is not None and not self._told:
                self._told = True
                self._sink.ended(process.exit)
            else:
                break

    def _apply(self) -> None:
        if not self._is_away:
            self.process.input += self._pending
            self._pending.clear()
            self.process.eof = self.process.eof or self._pending_eof


class KeptNodes:
    """A connector to one such node, which outlives the gateways that it is used by."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.processes: dict[str, Process] = {}
        self.sessions: list[KeptSession] = []
        self.ended: list[str] = []
        self.is_away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def open(self, node: Node, request: OpenUpstream) -> KeptSession:
        assert node.id == self.node_id
        await self.answers.wait()
        process = self.processes[request.session_id] = Process(request)
        self.sessions.append(KeptSession(self, process))
        return self.sessions[-1]

    async def adopt(
        self,
        node: Node,
        session_id: str,
        *,
        recorded: int,
        recorded_input: int | None,
        grace_seconds: int,
        sink: ResumableSink,
    ) -> KeptSession:
        await self.answers.wait()
        if self.is_away:
            raise NodeUnreachable("its agent is not connected", "Wait.")
        process = self.processes[session_id]
        assert grace_seconds == process.request.grace_seconds
        is_more = recorded_input is not None and recorded_input < len(process.input)
        if is_more or not process.oldest <= recorded <= len(process.log):
            raise UpstreamFailed("what it keeps does not fit", "Open a new session.")
        session = KeptSession(self, process, recorded)
        self.sessions.append(session)
        asyncio.get_running_loop().call_soon(session.run, sink)
        return session

    def end(self, node_id: str, session_id: str) -> None:
        assert node_id == self.node_id
        self.ended.append(session_id)
        if session_id in self.processes:
            self.processes[session_id].kill()

    def gateway_died(self) -> None:
        for session in self.sessions:
            session._sink = None


_upstream: type[ResumableUpstream] = KeptSession
_connector: type[ResumingConnector] = KeptNodes

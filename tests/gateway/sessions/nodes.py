"""Nodes that live in this process and keep the connector's contract (gateway.nodes.ports) to the letter."""

import asyncio
from collections import deque

from gateway.errors import Refused
from gateway.nodes.model import Node
from gateway.nodes.ports import Connector, Lost, OpenUpstream, Upstream, UpstreamEnd, UpstreamSink


class NodeSession:
    """The node's end of a session; the test is the process that runs there."""

    def __init__(self, request: OpenUpstream) -> None:
        self.request = request
        self.input = bytearray()
        self.eof = False
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[str] = []
        self.is_started = False
        self.is_closed = False
        self.is_paused = False
        self.room = asyncio.Event()
        self.room.set()
        self.refuses_start: Refused | None = None
        self._sink: UpstreamSink | None = None
        self._held: deque[tuple[bytes, bool]] = deque()
        self._end: UpstreamEnd | None = None
        self._told = False

    # What the process does.

    def say(self, data: bytes, *, stderr: bool = False) -> None:
        self._held.append((data, stderr))
        self._flush()

    def exits(self, end: UpstreamEnd) -> None:
        self._end = end
        self._flush()

    @property
    def held(self) -> int:
        """Bytes that the node still has, because nobody takes them."""
        return sum(len(data) for data, _ in self._held)

    # What the gateway calls.

    async def start(self, sink: UpstreamSink) -> None:
        assert not self.is_started
        if self.refuses_start is not None:
            raise self.refuses_start
        self.is_started = True
        self._sink = sink
        self._flush()

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self._flush()

    def write(self, data: bytes) -> None:
        if not self.is_closed and self._end is None:
            self.input += data

    async def drain(self) -> None:
        await self.room.wait()

    def write_eof(self) -> None:
        self.eof = True

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def signal(self, name: str) -> None:
        self.signals.append(name)

    def close(self) -> None:
        self.is_closed = True
        self.room.set()

    async def wait_closed(self) -> None:
        assert self.is_closed

    def _flush(self) -> None:
        while self._held and self._can_tell():
            data, stderr = self._held.popleft()
            assert self._sink is not None
            self._sink.output(data, stderr)
        if self._end is not None and not self._held and self._can_tell() and not self._told:
            self._told = True
            assert self._sink is not None
            self._sink.ended(self._end)

    def _can_tell(self) -> bool:
        return self._sink is not None and not self.is_paused and not self.is_closed


class Nodes:
    """A connector to such nodes. `answers` cleared: dialling takes until it is set."""

    def __init__(self) -> None:
        self.sessions: list[NodeSession] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.dialling = asyncio.Event()
        self.refuses: Refused | None = None
        self.refuses_start: Refused | None = None

    async def open(self, node: Node, request: OpenUpstream) -> NodeSession:
        self.dialling.set()
        await self.answers.wait()
        if self.refuses is not None:
            raise self.refuses
        session = NodeSession(request)
        session.refuses_start = self.refuses_start
        self.sessions.append(session)
        return session

    def die(self) -> None:
        """Every node is gone."""
        for session in self.sessions:
            session.exits(Lost("connection reset"))


_upstream: type[Upstream] = NodeSession
_connector: type[Connector] = Nodes

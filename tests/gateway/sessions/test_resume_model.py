"""Random cuts of client, node and gateway: every byte arrives once, and is once in the recording."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.nodes.ports import Exited, OpenUpstream, UpstreamKind
from gateway.sessions.flow import Budget, Recorded
from gateway.sessions.model import Session
from gateway.sessions.resumable import ResumableRelay
from jitgate.v1.session_pb2 import SessionFrame
from tests.gateway.access.world import START, WEB
from tests.gateway.sessions.client import data, eof, window
from tests.gateway.sessions.journals import Remembering
from tests.gateway.sessions.kept import KeptNodes, KeptSession, Process

CREDIT = 1 << 20
SESSION = Session(
    f"s-{0:020x}", "oi-1", "a", "r", "alice", WEB, "web-1", "root", UpstreamKind.SHELL, "", "", "r-1", START, START
)


class Exact(Remembering):
    """Takes each byte of each stream once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = {"output": bytearray(), "stderr": bytearray(), "input": bytearray()}

    def _write(self, *entry: object) -> None:
        super()._write(*entry)
        kind, *rest = entry
        if kind in self.streams:
            chunk, offset = rest
            assert isinstance(chunk, bytes)
            assert offset == len(self.streams[str(kind)])
            self.streams[str(kind)] += chunk

    def recorded(self) -> Recorded:
        main, errors, typed = (len(stream) for stream in self.streams.values())
        return Recorded(main, errors, typed, exited="exit" in self.kinds())


class Play:
    """A person, a gateway and its successors, a process; and what is between them."""

    def __init__(self) -> None:
        self.moments = itertools.count()
        self.budget = Budget()
        self.nodes = KeptNodes(WEB)
        request = OpenUpstream("root", UpstreamKind.SHELL, "alice", "s-1", "oi-1", 60, grace_seconds=9)
        self.process = Process(request)
        self.journal = Exact()
        self.node = KeptSession(self.nodes, self.process)
        self.node.at_most = 7
        self.relay = self._relay(self.node)
        self.node.run(self.relay)
        self.typed = bytearray()
        self.read = bytearray()
        self.sent = self.granted = 0
        self.exit: SessionFrame | None = None
        self.is_connected = True
        self.relay.opened(SESSION)
        self._letters = itertools.cycle(range(256))

    def _relay(self, node: KeptSession | None) -> ResumableRelay:
        return ResumableRelay(
            node,
            self.journal,
            grace_seconds=9,
            credit=CREDIT,
            budget=self.budget,
            steady=lambda: float(next(self.moments)),
            recorded=None if node else self.journal.recorded(),
        )

    def bytes(self, size: int) -> bytes:
        return bytes(next(self._letters) for _ in range(size))

    # What can happen.

    def says(self, size: int) -> None:
        if self.process.exit is None:
            self.process.say(self.bytes(size), stderr=size % 2 == 0)

    def types(self, size: int) -> None:
        self.typed += self.bytes(size)
        self.sends(size)

    def sends(self, size: int, *, arrives: bool = True) -> None:
        """Input on its way; without `arrives`, it is recorded and comes no further before everything is cut."""
        chunk = bytes(self.typed[self.sent : self.sent + size])
        if not self.is_connected or not chunk:
            return
        payload = self.relay.received(data(chunk, self.sent))
        self.sent += len(chunk)
        if arrives:
            self.node.write(payload)

    def reads(self, frames: int) -> None:
        for _ in range(frames):
            if not self.is_connected or (frame := self._next()) is None:
                return
            assert not frame.HasField("opened")
            if frame.HasField("data"):
                assert frame.data.offset == len(self.read)
                self.read += frame.data.payload
            elif frame.HasField("exit"):
                self.exit = frame

    def grants(self, _: int) -> None:
        if self.is_connected and (size := len(self.read) - self.granted):
            self.relay.received(window(size))
            self.granted += size

    def loses(self, frames: int) -> None:
        """The connection breaks while frames are under way in both directions."""
        if not self.is_connected:
            return
        for _ in range(frames % 4):
            self._next()
        if self.process.exit is None:
            self.typed += self.bytes(frames)
        self.sends(frames, arrives=False)
        self.relay.client_gone("gone")
        self.is_connected = False

    def comes(self, size: int) -> None:
        """Another call, be the earlier one over or not."""
        if self.is_connected:
            self.relay.client_gone("taken over")
        self.is_connected, self.exit = True, None
        self.relay.attach(SESSION, self.relay.offset_for(len(self.read)), CREDIT)
        self.granted = len(self.read)
        opened = self._next()
        assert opened is not None
        assert opened.opened.output_offset == len(self.read)
        assert opened.opened.input_offset <= self.sent
        self.sent = opened.opened.input_offset
        if size % 2:
            self.sends(len(self.typed))

    def elsewhere(self, _: int) -> None:
        """Another terminal, which has nothing yet, and breaks away before it has anything."""
        if self.is_connected:
            self.relay.client_gone("taken over")
        self.is_connected = False
        self.relay.attach(SESSION, self.relay.offset_for(None), CREDIT)
        self.relay.client_gone("gone")

    def cuts(self, _: int) -> None:
        self.node.cut()

    def mends(self, _: int) -> None:
        self.node.back()

    def dies(self, _: int) -> None:
        """The gateway; the next one adopts the session."""
        self.node._sink = None
        self.is_connected = False
        self.budget = Budget()
        self.relay = self._relay(None)
        self.node = KeptSession(self.nodes, self.process, self.relay.recorded.output)
        self.node.at_most = 5
        self.relay.adopt(self.node, 0)
        self.node.run(self.relay)

    def exits(self, size: int) -> None:
        if size > 34:
            self.process.exits(Exited(3))

    def _next(self) -> SessionFrame | None:
        frame = self.relay.next_control() or self.relay.next_output()
        return None if frame is None else SessionFrame.FromString(frame)


EVENTS = ("says", "types", "reads", "grants", "loses", "comes", "elsewhere", "cuts", "mends", "dies", "exits")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(1, 40)), min_size=20, max_size=60))
def test_every_byte_arrives_once_everywhere(script: list[tuple[str, int]]) -> None:
    async def act() -> None:
        play = Play()
        assert play._next() is not None  # the session is known from here on
        for event, size in script:
            if event == "types" and play.process.exit is not None:
                continue
            getattr(play, event)(size)
            if size % 3:
                await asyncio.sleep(0)
        play.mends(0)
        play.comes(0)
        await asyncio.sleep(0)
        is_over = play.process.exit is not None
        if not is_over:
            play.sends(len(play.typed))
            play.relay.received(eof())
            play.process.exits(Exited(3))
        for _ in range(100):
            play.reads(1000)
            await asyncio.sleep(0)
        assert play.exit is not None
        assert play.read == play.process.log
        assert bytes(play.process.streams).count(1) == len(play.journal.streams["stderr"])
        both = {0: iter(play.journal.streams["output"]), 1: iter(play.journal.streams["stderr"])}
        assert bytes(next(both[stream]) for stream in play.process.streams) == play.process.log
        assert play.journal.kinds().count("exit") == 1
        if is_over:  # what was typed at a process that had ended is lost, as on every terminal
            assert play.typed.startswith(play.process.input)
            assert play.typed.startswith(play.journal.streams["input"])
        else:
            assert play.process.input == play.journal.streams["input"] == play.typed
            assert play.process.eof
        assert play.relay.finish("") is not None
        assert play.process.is_forgotten
        assert play.budget.used == 0

    asyncio.run(act())

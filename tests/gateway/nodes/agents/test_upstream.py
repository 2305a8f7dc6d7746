"""A session whose agent comes and goes, frame by frame: every byte once, in order, and no lie gets far."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.nodes.agents.serving import WINDOW_BYTES, Serving
from gateway.nodes.agents.upstream import MAX_KEPT_INPUT, AgentUpstream
from gateway.nodes.ports import Exited, Lost, ResumableSink, ResumableUpstream
from jitgate.v1.agent_pb2 import NodeExit, NodeFrame, ServeSession, SessionRunning
from jitgate.v1.session_pb2 import SessionData, SessionWindow
from tests.gateway.nodes.agents.puppet import REQUEST, Sink


class Keeper:
    def __init__(self) -> None:
        self.said: list[str] = []

    def resume(self, upstream: AgentUpstream) -> None:
        self.said.append("resume")

    def kill(self, upstream: AgentUpstream) -> None:
        self.said.append("kill")

    def forget(self, upstream: AgentUpstream) -> None:
        self.said.append("forget")


class Node:
    """A session and the honest agent that has it; tests that say less honest things use `serving`."""

    def __init__(self, grace: int = 300) -> None:
        self.keeper = Keeper()
        self.sink = Sink()
        self.upstream = AgentUpstream("mi-1", "web", replace(REQUEST, grace_seconds=grace), self.keeper)
        self.said = bytearray()
        self.read = bytearray()
        self.ended = False
        self.oldest = self.cursor = self.credit = self.unread = 0
        self.serving: Serving

    async def begin(self) -> "Node":
        self.serving = self.upstream.carried(ServeSession())
        starting = asyncio.create_task(self.upstream.start(self.sink))
        await asyncio.sleep(0)
        (first,) = self.frames()
        assert first.start.credit == WINDOW_BYTES
        self.credit = first.start.credit
        self.serving.received(NodeFrame(running=SessionRunning(credit=1 << 24)))
        await starting
        return self

    def resume(self, **lies: int) -> NodeFrame:
        """A further call, with the first frame that the gateway says in it."""
        truth = {
            "input_offset": len(self.read),
            "oldest_output": self.oldest,
            "newest_output": len(self.said),
        }
        self.serving = self.upstream.carried(ServeSession(**{**truth, **lies}))  # type: ignore[arg-type]  # three numbers
        frame = self.serving.next_frame()
        assert frame is not None and frame.WhichOneof("frame") == "resume"
        self.cursor, self.credit, self.unread = frame.resume.output_offset, frame.resume.credit, 0
        self.serving.received(NodeFrame(running=SessionRunning(credit=1 << 16)))
        return frame

    def cut(self) -> None:
        self.serving.lost("a test cut it")

    def frames(self) -> list[NodeFrame]:
        found = []
        while (frame := self.serving.next_frame()) is not None:
            found.append(frame)
        return found

    def listen(self) -> None:
        """Takes what the gateway has to say."""
        for frame in self.frames():
            match frame.WhichOneof("frame"):
                case "data":
                    assert frame.data.offset == len(self.read) and not self.ended
                    self.read += frame.data.payload
                    self.unread += len(frame.data.payload)
                case "window":
                    self.credit += frame.window.credit
                case "durable":
                    assert self.oldest <= frame.durable.offset <= self.cursor
                    self.oldest = frame.durable.offset
                case "eof":
                    self.ended = True

    def speak(self, most: int) -> None:
        """Says what the window allows."""
        size = min(most, self.credit, len(self.said) - self.cursor)
        if size and not self.serving.is_over:
            payload = bytes(self.said[self.cursor : self.cursor + size])
            self.serving.received(NodeFrame(data=SessionData(offset=self.cursor, payload=payload)))
            self.cursor += size
            self.credit -= size

    def exit(self, status: int = 0) -> None:
        self.serving.received(NodeFrame(exit=NodeExit(status=status)))


async def test_it_is_what_sessions_ask_for() -> None:
    node = await Node().begin()
    upstream: ResumableUpstream = node.upstream
    sink: ResumableSink = node.sink
    assert isinstance(upstream, ResumableUpstream) and upstream.grace_seconds == 300 and sink


async def test_output_goes_on_at_the_exact_byte_and_input_is_said_again() -> None:
    node = await Node().begin()
    node.said += b"one two three"
    node.speak(8)
    node.upstream.write(b"abcdef")
    node.frames()  # under way when the call breaks
    node.read += b"ab"
    node.upstream.write(b"ghi")
    node.upstream.write_eof()
    node.upstream.resize(100, 30)
    node.cut()
    assert (node.sink.heard, node.keeper.said, node.upstream.input_offset) == (["suspended"], ["resume"], 9)
    assert node.serving.refused is not None and node.serving.refused.reason == "CALL_DROPPED"
    assert node.resume().resume.output_offset == 8
    assert node.sink.heard == ["suspended", "resumed"]
    again = node.frames()
    assert [frame.WhichOneof("frame") for frame in again] == ["resize", "data", "data", "eof"]
    assert [(each.data.offset, each.data.payload) for each in again[1:3]] == [(2, b"cdef"), (6, b"ghi")]
    node.read += b"cdefghi"
    node.cut()
    node.resume()
    assert [frame.WhichOneof("frame") for frame in node.frames()] == ["resize", "eof"]
    node.speak(99)
    node.exit(3)
    assert (bytes(node.sink.out), node.sink.end) == (b"one two three", Exited(3))


async def test_a_paused_session_takes_what_waited_a_second_time_and_gives_it_once() -> None:
    node = await Node().begin()
    node.said += bytes(range(256)) * 4096
    node.upstream.pause_reading()
    for _ in range(8):
        node.speak(1 << 18)
    node.cut()
    frame = node.resume()
    assert (frame.resume.output_offset, frame.resume.credit) == (0, WINDOW_BYTES) and not node.sink.out
    node.speak(1 << 18)
    node.upstream.resume_reading()
    assert node.sink.out == node.said[: 1 << 18]


async def test_rewound_it_says_again_what_was_said_and_how_it_ended() -> None:
    node = await Node().begin()
    node.said += b"abcdefgh"
    node.speak(6)
    node.upstream.acknowledged(2)
    node.listen()
    assert (node.oldest, node.upstream.oldest) == (2, 2)
    for wrong in (1, 7, -1):
        with pytest.raises(ValueError, match="from 2 to 6"):
            node.upstream.rewind(wrong)
    old = node.serving
    node.upstream.rewind(3)
    assert old.refused is not None and old.refused.reason == "CALL_REPLACED"
    old.received(NodeFrame(data=SessionData(offset=6, payload=b"late")))
    old.lost("late")
    assert node.sink.out == b"abcdef"
    node.sink.out.clear()
    node.resume()
    node.speak(99)
    node.exit(7)
    assert (bytes(node.sink.out), node.sink.end, node.sink.heard) == (b"defgh", Exited(7), [])
    node.sink.forget_end()
    node.sink.out.clear()
    node.upstream.rewind(8)
    node.resume()
    node.exit(7)
    assert (bytes(node.sink.out), node.sink.end) == (b"", Exited(7))
    assert node.keeper.said == ["resume", "resume"]


async def test_what_did_not_come_yet_again_is_not_given_up() -> None:
    node = await Node().begin()
    node.said += b"abcdef"
    node.speak(6)
    node.upstream.rewind(1)
    node.upstream.acknowledged(6)  # a client that grants before it has read
    node.resume()
    node.speak(2)
    node.upstream.acknowledged(6)
    node.listen()
    assert (node.oldest, node.upstream.oldest) == (3, 3)
    node.cut()
    assert node.resume().resume.output_offset == 3


async def test_an_end_that_was_told_is_told_again_only_when_it_is_asked_for() -> None:
    node = await Node().begin()
    node.said += b"x"
    node.speak(1)
    node.exit()
    assert node.sink.end == Exited(0) and not node.serving.is_over
    node.cut()
    node.resume()
    node.cut()
    node.resume()
    node.exit()
    node.cut()
    assert node.sink.heard == []
    node.upstream.gone("it was restarted")
    node.sink.forget_end()
    node.upstream.rewind(0)
    await asyncio.sleep(0)
    assert isinstance(node.sink.end, Lost) and node.upstream.is_over


async def test_rewound_while_its_agent_is_away() -> None:
    node = await Node().begin()
    node.said += b"xyz"
    node.speak(3)
    node.exit()
    node.cut()
    node.upstream.rewind(1)
    node.upstream.away("still gone")
    node.upstream.away("still gone")
    assert node.sink.heard == ["suspended"]
    node.sink.forget_end()
    node.resume()
    node.speak(9)
    node.exit()
    assert (bytes(node.sink.out), node.sink.end) == (b"xyzyz", Exited(0))
    assert node.sink.heard == ["suspended", "resumed"]


@pytest.mark.parametrize(
    ("leave", "said", "reason"),
    [
        ("release", ["forget"], None),
        ("close", ["kill", "forget"], None),
        ("leave", ["forget"], "CALL_DROPPED"),
    ],
)
async def test_how_it_is_left_after_the_end(leave: str, said: list[str], reason: str | None) -> None:
    node = await Node().begin()
    node.exit()
    getattr(node.upstream, leave)()
    await node.upstream.wait_closed()
    assert node.keeper.said == said and node.serving.is_over
    assert (node.serving.refused.reason if node.serving.refused else None) == reason
    node.upstream.close()
    node.upstream.rewind(0)
    assert node.keeper.said == said


async def test_an_end_that_comes_a_second_time_and_is_not_there_yet_does_not_end_the_call_well() -> None:
    node = await Node().begin()
    node.exit()
    node.cut()
    node.resume()
    node.upstream.release()
    assert node.keeper.said == ["resume", "kill", "forget"]


async def test_an_order_without_grace_ends_with_its_call() -> None:
    node = await Node(grace=0).begin()
    node.upstream.rewind(0)
    node.cut()
    assert isinstance(node.sink.end, Lost) and not node.sink.heard and not node.keeper.said
    assert node.upstream.grace_seconds == 0 and node.serving.is_over and node.serving.refused is None
    other = await Node(grace=0).begin()
    other.exit(1)
    assert (other.sink.end, other.serving.is_over, other.serving.refused) == (Exited(1), True, None)


async def test_a_session_that_did_not_begin_is_not_kept() -> None:
    node = Node()
    node.serving = node.upstream.carried(ServeSession())
    starting = asyncio.create_task(node.upstream.start(node.sink))
    await asyncio.sleep(0)
    node.cut()
    with pytest.raises(Refused, match="UPSTREAM_FAILED"):
        await starting
    assert node.keeper.said == ["kill", "forget"] and not node.sink.heard
    with pytest.raises(Refused, match="UNKNOWN_SESSION"):
        node.upstream.carried(ServeSession())


LIES = {
    "it lost output": {"newest_output": 5},
    "it dropped what was not acknowledged": {"oldest_output": 3},
    "it has less input than it took": {"input_offset": 1},
    "it has more input than it got": {"input_offset": 5},
}


@pytest.mark.parametrize("case", LIES)
async def test_lies_about_what_there_is_end_the_session(case: str) -> None:
    node = await Node().begin()
    node.said += b"abcdef"
    node.speak(6)
    node.upstream.acknowledged(2)
    node.listen()
    node.upstream.write(b"1234")
    node.listen()
    node.serving.received(NodeFrame(window=SessionWindow(credit=2)))
    node.cut()
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        node.resume(**LIES[case])
    assert isinstance(node.sink.end, Lost) and node.upstream.is_over
    assert node.keeper.said[:2] == ["resume", "kill"] and node.keeper.said[-1] == "forget"
    with pytest.raises(Refused, match="UNKNOWN_SESSION"):
        node.upstream.carried(ServeSession(newest_output=6))


@pytest.mark.parametrize(
    "frame",
    [
        NodeFrame(exit=NodeExit(status=0)),  # where more was named
        NodeFrame(data=SessionData(offset=0, payload=b"x")),
        NodeFrame(data=SessionData(offset=4, payload=b"x")),
        NodeFrame(window=SessionWindow(credit=1)),
        NodeFrame(running=SessionRunning(credit=1)),
    ],
)
async def test_lies_in_a_further_call_end_the_session(frame: NodeFrame) -> None:
    node = await Node().begin()
    node.said += b"abc"
    node.speak(3)
    node.said += b"def"
    node.cut()
    node.resume()
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        node.serving.received(frame)
    assert isinstance(node.sink.end, Lost) and "kill" in node.keeper.said


@pytest.mark.parametrize(
    ("serve", "frame"),
    [
        ({}, NodeFrame(exit=NodeExit(status=1))),
        ({}, NodeFrame(data=SessionData(offset=3, payload=b"more"))),
        ({"newest_output": 4}, NodeFrame()),
    ],
)
async def test_a_process_that_has_ended_says_nothing_else(serve: dict[str, int], frame: NodeFrame) -> None:
    node = await Node().begin()
    node.said += b"abc"
    node.speak(3)
    node.exit(0)
    node.sink.forget_end()
    node.upstream.rewind(0)

    def go_on() -> None:
        node.resume(**serve)
        node.speak(3)
        node.serving.received(frame)

    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        go_on()
    assert isinstance(node.sink.end, Lost) and "kill" in node.keeper.said


async def test_an_agent_cannot_have_unlimited_input_kept() -> None:
    node = await Node().begin()
    for _ in range(40):
        node.upstream.write(bytes(1 << 16))
    sent = sum(len(frame.data.payload) for frame in node.frames())
    assert sent == MAX_KEPT_INPUT
    assert not node.upstream._input.writable.is_set()  # the writer waits


async def test_one_who_inherits_it_takes_what_fits_and_nothing_else() -> None:
    for lie in ({"newest_output": 9}, {"oldest_output": 11}, {"input_offset": 5}):
        node = Node()
        node.upstream.inherit(10, 4, node.sink)
        node.said += bytes(12)
        with pytest.raises(Refused, match="BROKEN_FRAMES"):
            node.resume(**lie)
        with pytest.raises(Refused, match="UPSTREAM_FAILED"):
            await node.upstream.resumed()
    node = Node()
    node.upstream.inherit(10, 4, node.sink)
    node.said += b"0123456789ab"
    node.read += b"XYZ"
    node.oldest = 2
    assert node.resume().resume.output_offset == 10
    await node.upstream.resumed()
    assert (node.upstream.oldest, node.upstream.input_offset, node.sink.heard) == (2, 3, [])
    node.speak(9)
    assert node.sink.out == b""
    node.upstream.resume_reading()
    assert node.sink.out == b"ab"
    node.upstream.write(b"W")
    node.listen()
    assert node.read == b"XYZW"


STEPS = st.one_of(
    st.tuples(st.just("produce"), st.integers(1, 300_000)),
    st.tuples(st.just("speak"), st.integers(1, 262_144)),
    st.tuples(st.just("write"), st.integers(1, 80_000)),
    st.tuples(st.just("rewind"), st.floats(0, 1)),
    st.tuples(st.just("acknowledge"), st.floats(0, 1)),
    st.tuples(st.sampled_from(["cut", "lose", "listen", "grant", "pause", "go on"]), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_every_byte_arrives_once(steps: list[tuple[str, float]]) -> None:
    asyncio.run(_every_byte_arrives_once(steps))


async def _every_byte_arrives_once(steps: list[tuple[str, float]]) -> None:
    node = await Node().begin()
    upstream, sink = node.upstream, node.sink
    written = bytearray()
    begins = 0  # where in the output what the sink has begins
    is_paused = False

    def check() -> None:
        assert sink.out == node.said[begins : begins + len(sink.out)]
        assert node.read == written[: len(node.read)]

    for step, value in steps:
        has = begins + len(sink.out)
        match step:
            case "produce":
                start = len(node.said)
                node.said += b"".join((start + at).to_bytes(4) for at in range(0, int(value), 4))[: int(value)]
            case "speak":
                node.speak(int(value))
            case "write":
                data = bytes(len(written) % 251 for _ in range(int(value)))
                written += data
                upstream.write(data)
            case "rewind":
                begins = upstream.oldest + int(value * (has - upstream.oldest))
                upstream.rewind(begins)
                sink.out.clear()
            case "acknowledge":
                upstream.acknowledged(int(value * has))
            case "cut":
                node.cut()
            case "lose":  # what was sent does not arrive
                node.frames()
                node.cut()
            case "listen":
                node.listen()
            case "grant" if node.unread:
                node.serving.received(NodeFrame(window=SessionWindow(credit=node.unread)))
                node.unread = 0
            case "pause":
                upstream.pause_reading()
                is_paused = True
            case "go on":
                upstream.resume_reading()
                is_paused = False
        if upstream.wants_call:
            node.resume()
        check()
    if is_paused:
        upstream.resume_reading()
    upstream.write_eof()
    while node.cursor < len(node.said) or not node.ended:
        node.listen()
        node.speak(262_144)
        if node.unread:
            node.serving.received(NodeFrame(window=SessionWindow(credit=node.unread)))
            node.unread = 0
    node.exit(0)
    assert (sink.out, node.read, sink.end) == (node.said[begins:], written, Exited(0))

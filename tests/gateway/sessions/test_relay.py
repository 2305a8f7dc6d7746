"""Scripts of events: what comes in by calls, what goes out as frames. No loop, no sockets, no time of its own."""

import pytest

from gateway.errors import Refused
from gateway.nodes.ports import Exited, Lost, OpenUpstream, Signalled, UpstreamKind
from gateway.sessions.flow import INPUT_WINDOW, OUTPUT_HIGH, Budget
from gateway.sessions.frames import MAX_PAYLOAD
from gateway.sessions.model import End, Ending
from gateway.sessions.relay import COALESCE_SECONDS, Relay
from jitgate.v1.session_pb2 import SESSION_STREAM_STDERR, SessionData, SessionEnd, SessionFrame, SessionOpened
from recorder.model import Stream
from tests.gateway.sessions.client import data, eof, resize, signal, window
from tests.gateway.sessions.journals import Remembering
from tests.gateway.sessions.nodes import NodeSession


class Stage:
    """A relay, its node, its journal, and the frames that a client would have got."""

    def __init__(self, *, credit: int = 1 << 20, strict: bool = True, budget: Budget | None = None) -> None:
        self.time = 100.0
        self.node = NodeSession(OpenUpstream("root", UpstreamKind.SHELL, "alice", "s-1", "oi-1", 60))
        self.journal = Remembering()
        self.unrecorded: list[str] = []
        self.wakes = 0
        self.relay = Relay(
            self.node,
            self.journal,
            credit=credit,
            budget=budget or Budget(),
            steady=lambda: self.time,
            strict=strict,
            unrecorded=self.unrecorded.append,
        )
        self.relay.wake = self._woken
        self.node._sink = self.relay
        self.frames: list[SessionFrame] = []

    def _woken(self) -> None:
        self.wakes += 1

    def deliver(self) -> list[SessionFrame]:
        """What can go to the client now; later calls give what came later."""
        new = []
        while (frame := self.relay.next_control() or self.relay.next_output()) is not None:
            new.append(SessionFrame.FromString(frame))
        self.frames += new
        return new

    def output(self) -> bytes:
        return b"".join(frame.data.payload for frame in self.frames if frame.HasField("data"))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_output_is_in_the_journal_before_it_goes_on(stage: Stage) -> None:
    stage.node.say(b"hello")
    assert stage.journal.entries == [("output", b"hello", 0)]
    assert stage.frames == []
    stage.deliver()
    assert stage.output() == b"hello"


def test_the_first_chunk_goes_at_once_and_what_follows_soon_goes_together(stage: Stage) -> None:
    stage.node.say(b"a")
    assert stage.wakes == 1
    assert [frame.data.payload for frame in stage.deliver()] == [b"a"]
    stage.node.say(b"b")
    stage.node.say(b"c")
    assert stage.deliver() == []
    assert stage.relay.due_in() == pytest.approx(COALESCE_SECONDS)
    stage.time += COALESCE_SECONDS
    assert [frame.data.payload for frame in stage.deliver()] == [b"bc"]
    assert stage.relay.due_in() is None


def test_a_full_frame_waits_for_nothing(stage: Stage) -> None:
    stage.node.say(b"a")
    stage.deliver()
    stage.node.say(bytes(MAX_PAYLOAD))
    assert [len(frame.data.payload) for frame in stage.deliver()] == [MAX_PAYLOAD]


def test_streams_are_kept_apart_with_offsets_of_their_own_in_the_journal(stage: Stage) -> None:
    stage.node.say(b"out")
    stage.node.say(b"err", stderr=True)
    stage.node.say(b"more")
    assert stage.journal.entries == [("output", b"out", 0), ("stderr", b"err", 0), ("output", b"more", 3)]
    sent = [stage.deliver()]
    stage.time += 1
    sent.append(stage.deliver())
    stage.time += 1
    sent.append(stage.deliver())
    frames = [(frame.data.offset, frame.data.stream, frame.data.payload) for part in sent for frame in part]
    assert frames == [(0, 0, b"out"), (3, 1, b"err"), (6, 0, b"more")]


def test_no_credit_pauses_the_node_and_credit_lets_it_go_on() -> None:
    stage = Stage(credit=1)
    for _ in range(20):
        stage.node.say(bytes(64 * 1024))
    stage.deliver()
    assert stage.node.is_paused
    assert stage.node.held > 0
    assert stage.relay.budget.used <= OUTPUT_HIGH + 64 * 1024
    stage.relay.received(window(4 << 20))
    while stage.node.held or stage.relay.budget.used:
        stage.time += 1
        assert stage.deliver()
    assert not stage.node.is_paused
    assert len(stage.output()) == 20 * 64 * 1024


def test_the_tail_comes_before_the_exit_however_slow_the_client_is() -> None:
    stage = Stage(credit=2)
    stage.node.say(b"the tail")
    stage.node.exits(Exited(7))
    assert [frame.WhichOneof("frame") for frame in stage.deliver()] == ["data"]
    assert stage.relay.ending == Ending(End.EXITED, status=7)
    assert not stage.relay.is_over
    stage.relay.received(window(100))
    assert [frame.WhichOneof("frame") for frame in stage.deliver()] == ["data", "exit"]
    assert stage.output() == b"the tail"
    assert stage.frames[-1].exit.status == 7
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_EXITED
    assert stage.relay.is_over
    assert stage.journal.kinds() == ["output", "exit"]


def test_a_signal_and_a_lost_node_are_told_apart() -> None:
    stage = Stage()
    stage.node.exits(Signalled("KILL"))
    stage.deliver()
    assert stage.frames[-1].exit.signal == "KILL"
    stage = Stage()
    stage.node.say(b"half a li")
    stage.node.exits(Lost("connection reset"))
    stage.deliver()
    assert stage.output() == b"half a li"
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_NODE_GONE
    assert "connection reset" in stage.frames[-1].exit.message


def test_input_is_in_the_journal_before_it_goes_on(stage: Stage) -> None:
    assert stage.relay.received(data(b"ls\n")) == b"ls\n"
    assert stage.relay.received(data(b"", 3)) == b""
    assert stage.relay.received(data(b"pwd\n", 3)) == b"pwd\n"
    assert stage.journal.entries == [("input", b"ls\n", 0), ("input", b"pwd\n", 3)]


def test_input_gets_new_credit_when_the_node_has_taken_it(stage: Stage) -> None:
    half = INPUT_WINDOW // 2
    stage.relay.received(data(bytes(half - 1)))
    assert not stage.relay.wants_drain
    stage.relay.received(data(b"x", half - 1))
    assert stage.relay.wants_drain
    assert stage.deliver() == []
    stage.relay.drained()
    assert stage.deliver()[0].window.credit == half


def test_resizes_signals_and_the_end_of_input(stage: Stage) -> None:
    for frame in (resize(80, 24), resize(80, 24), resize(100, 30), signal("INT"), eof(), eof()):
        assert stage.relay.received(frame) == b""
    assert stage.node.sizes == [(80, 24), (100, 30)]
    assert stage.node.signals == ["INT"]
    assert stage.node.eof
    assert stage.journal.entries == [
        ("resize", 80, 24),
        ("resize", 100, 30),
        ("signal", "INT"),
        ("eof", Stream.INPUT),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        data(b"x", 1),
        data(bytes(MAX_PAYLOAD + 1)),
        SessionFrame(data=SessionData(payload=b"x", stream=SESSION_STREAM_STDERR)),
        window(0),
        window(1 << 40),
        resize(0, 24),
        resize(80, 10_001),
        signal("STOP"),
        signal("X" * 10_000),
        SessionFrame(opened=SessionOpened()),
        SessionFrame(),
    ],
    ids=lambda frame: f"{frame.WhichOneof('frame')}",
)
def test_frames_that_break_the_contract_end_the_session(stage: Stage, frame: SessionFrame) -> None:
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        stage.relay.received(frame)
    assert stage.node.is_closed
    assert stage.journal.entries == []
    assert stage.relay.ending is not None
    assert stage.relay.ending.end is End.CLIENT_GONE
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        stage.relay.next_control()


def test_more_input_than_credit_and_input_after_its_end(stage: Stage) -> None:
    stage.relay.received(data(bytes(MAX_PAYLOAD)))
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        stage.relay.received(data(b"x", MAX_PAYLOAD))
    stage = Stage()
    stage.relay.received(eof())
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        stage.relay.received(data(b"x"))


@pytest.mark.rule("R25")
def test_an_end_from_outside_cuts_the_node_off_and_says_why(stage: Stage) -> None:
    stage.node.say(b"seen")
    stage.deliver()
    stage.node.say(b"not seen")
    stage.relay.end(Ending(End.REVOKED, "The access was revoked by sam."))
    assert stage.node.is_closed
    stage.node.say(b"later")
    stage.relay.output(b"a node that does not keep its contract", False)
    stage.relay.ended(Exited(0))
    assert [frame.WhichOneof("frame") for frame in stage.deliver()] == ["notice", "exit"]
    assert stage.output() == b"seen"
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_REVOKED
    assert stage.frames[-1].exit.message == stage.frames[-2].notice.text == "The access was revoked by sam."
    assert stage.relay.received(data(b"rm -rf /")) == b""
    assert stage.relay.budget.used == 0
    assert ("input", b"rm -rf /", 0) not in stage.journal.entries


def test_the_first_end_from_outside_is_the_one_that_counts(stage: Stage) -> None:
    stage.relay.end(Ending(End.LOCKED, "locked"))
    stage.relay.end(Ending(End.IDLE, "idle"))
    assert [frame.WhichOneof("frame") for frame in stage.deliver()] == ["notice", "exit"]
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_LOCKED


@pytest.mark.rule("R25")
def test_a_client_that_hangs_on_to_the_tail_is_cut_off_as_well() -> None:
    stage = Stage(credit=1)
    stage.node.say(b"tail")
    stage.node.exits(Exited(0))
    stage.deliver()
    stage.relay.end(Ending(End.WINDOW_ENDED, "over"))
    stage.deliver()
    assert stage.output() == b"t"
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_WINDOW_ENDED


@pytest.mark.rule("R27")
def test_nothing_goes_on_that_could_not_be_recorded(stage: Stage) -> None:
    stage.journal.failure = "the disk is full"
    stage.node.say(b"secret output")
    assert stage.node.is_closed
    stage.deliver()
    assert stage.output() == b""
    assert stage.frames[-1].exit.end == SessionEnd.SESSION_END_RECORDING_FAILED
    assert "the disk is full" in stage.frames[-1].exit.message
    for send in (data(b"x"), resize(80, 24), signal("INT"), eof()):
        stage = Stage()
        stage.journal.failure = "the disk is full"
        assert stage.relay.received(send) == b""
        assert stage.node.input == b""
        assert not (stage.node.sizes or stage.node.signals or stage.node.eof)
        assert stage.relay.ending is not None
        assert stage.relay.ending.end is End.RECORDING_FAILED


@pytest.mark.rule("R27")
def test_best_effort_goes_on_and_says_so_once() -> None:
    stage = Stage(strict=False)
    stage.journal.failure = "the disk is full"
    stage.node.say(b"one")
    stage.node.say(b"two")
    assert stage.relay.received(data(b"x")) == b"x"
    stage.deliver()
    stage.time += 1
    stage.deliver()
    assert stage.output() == b"onetwo"
    assert stage.unrecorded == ["the disk is full"]
    notices = [frame.notice for frame in stage.frames if frame.HasField("notice")]
    assert [(notice.severity, "no longer recorded" in notice.text) for notice in notices] == [("warning", True)]
    assert stage.relay.ending is None


def test_a_notice_is_recorded_and_is_no_output(stage: Stage) -> None:
    stage.relay.notice("This session ends in 5 minutes.", "warning")
    assert stage.journal.entries == [("notice", "This session ends in 5 minutes.")]
    assert [frame.WhichOneof("frame") for frame in stage.deliver()] == ["notice"]
    assert stage.output() == b""


def test_activity_is_a_byte_in_either_direction(stage: Stage) -> None:
    assert stage.relay.active_at == 100.0
    stage.time = 110.0
    stage.relay.received(resize(80, 24))
    stage.relay.received(window(1))
    assert stage.relay.active_at == 100.0
    stage.node.say(b"x")
    assert stage.relay.active_at == 110.0
    stage.time = 120.0
    stage.relay.received(data(b"x"))
    assert stage.relay.active_at == 120.0


def test_a_recording_that_is_held_back_holds_the_node_and_the_input_back(stage: Stage) -> None:
    stage.journal.is_held_back = True
    stage.node.say(b"taken, ")
    stage.node.say(b"waits")
    assert stage.node.is_paused
    assert stage.node.held == 5
    [_, notice] = stage.deliver()[::-1]
    assert "nearly full" in notice.notice.text
    stage.relay.received(data(bytes(INPUT_WINDOW // 2)))
    stage.relay.drained()
    stage.relay.pass_time()
    stage.time += 1
    assert not any(frame.HasField("window") for frame in stage.deliver())
    assert stage.node.is_paused
    stage.journal.is_held_back = False
    stage.relay.pass_time()
    assert not stage.node.is_paused
    stage.time += 1
    frames = stage.deliver()
    assert [frame.window.credit for frame in frames if frame.HasField("window")] == [INPUT_WINDOW // 2]
    assert stage.output() == b"taken, waits"
    assert not any(frame.HasField("notice") for frame in frames)

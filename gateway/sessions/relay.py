"""One session's bytes between client and node, and into the recording before they go on.

No IO waits in here: what happens comes in by plain calls, what is to be sent goes out through `next_frame`.
`pump.py` moves the frames.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, ParamSpec

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import Refused
from gateway.nodes.ports import Exited, Signalled, Upstream, UpstreamEnd
from gateway.sessions.flow import Budget, Inward, Outward, Pace, Recorded
from gateway.sessions.frames import MAX_PAYLOAD, MAX_TERMINAL_SIDE, SIGNALS, broken, encode
from gateway.sessions.model import End, Ending, Session
from gateway.sessions.ports import UNRECORDED, Journal
from jitgate.v1.session_pb2 import (
    SESSION_STREAM_MAIN,
    SESSION_STREAM_STDERR,
    SessionEnd,
    SessionExit,
    SessionFrame,
    SessionNotice,
    SessionOpened,
    SessionWindow,
)
from recorder.errors import RecordingFailed
from recorder.model import Stream

HELD_BACK: Final = (
    "The gateway's spool is nearly full: this session waits until recordings have reached their store, "
    "and is ended if that takes too long."
)
COALESCE_SECONDS: Final = 0.001
"""Output that follows a frame within this time goes into the next one together."""

_Values = ParamSpec("_Values")

Steady = Callable[[], float]
"""Seconds of a clock that never goes back."""


def _nobody_waits() -> None:
    """What `wake` does while no pump runs."""


class Relay:
    """Between one client and one node; it is the node's `UpstreamSink`.

    `strict`: a recording that fails ends the session; otherwise the session goes on, and `unrecorded` is called
    with the reason, once.
    """

    __slots__ = (
        "_broken",
        "_control",
        "_flushed_at",
        "_input_over",
        "_inward",
        "_log",
        "_outward",
        "_owes_credit",
        "_pace",
        "_paused",
        "_said_exit",
        "_size",
        "_steady",
        "_strict",
        "_unrecorded",
        "active_at",
        "budget",
        "ending",
        "is_attended",
        "is_cut",
        "journal",
        "recorded",
        "upstream",
        "wake",
    )

    def __init__(
        self,
        upstream: Upstream,
        journal: Journal,
        *,
        credit: int,
        budget: Budget,
        steady: Steady,
        strict: bool = True,
        unrecorded: Callable[[str], None] | None = None,
        recorded: Recorded | None = None,
        log: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        """`recorded`: what an earlier process recorded of the session; nobody is there for it yet, then.

        `log` gets the output besides the recording (True: stderr); it neither waits nor raises.
        """
        self.upstream = upstream
        self.budget = budget
        self.ending: Ending | None = None
        """How the session ended; None while it goes on."""
        self.is_cut = False
        """The session was ended from outside: what the client had no room for is dropped."""
        self.is_attended = recorded is None
        """A client is there. Only a resumable session goes on without one."""
        self.journal = journal
        self.active_at = steady()
        """When bytes last went either way, on the steady clock."""
        self.wake: Callable[[], None] = _nobody_waits
        """Called when `next_frame` may have something; the pump sets it."""
        self._strict = strict
        self._unrecorded = unrecorded
        self._log = log
        self._steady = steady
        self._inward = Inward()
        self._outward = Outward(credit, budget)
        self._pace = Pace()
        self._control: deque[bytes] = deque()
        self._broken: Refused | None = None
        self.recorded = recorded or Recorded()
        self._size = (0, 0)
        self._paused = self._said_exit = self._input_over = self._owes_credit = False
        self._flushed_at = float("-inf")

    # -- from the client ----------------------------------------------------------------------------------------

    def received(self, frame: SessionFrame) -> bytes:
        """One frame from the client; what of it is input for the node, recorded already (b"": nothing).

        Raises Refused BROKEN_FRAMES; the session has ended then.
        """
        try:
            return self._received(frame)
        except Refused as refused:
            self._broken = refused
            self._cut(self.ending or Ending(End.CLIENT_GONE, refused.message))
            raise

    def _received(self, frame: SessionFrame) -> bytes:
        which = frame.WhichOneof("frame")
        if which == "data":
            data = frame.data
            payload = data.payload
            if data.stream != SESSION_STREAM_MAIN or (self._input_over and payload):
                raise broken("input on a stream that takes none")
            self._inward.take(data.offset, len(payload))
            if self.ending is not None or not payload:
                return b""
            self.active_at = self._steady()
            return payload if self._keep_input(payload, data.offset) else b""
        if which == "window":
            self._granted(frame.window.credit)
            self.wake()
        elif which == "resize":
            self._resize(frame.resize.columns, frame.resize.rows)
        elif which == "signal":
            self._signal(frame.signal.name)
        elif which == "eof":
            self.input_over()
        elif which == "hangup":
            self._hung_up()
        else:
            raise broken(f"a frame that only the gateway sends: {which or 'none that is known'}")
        return b""

    @property
    def wants_drain(self) -> bool:
        """Much input went to the node: wait until it is taken, then call `drained`."""
        return self._inward.is_due and self.ending is None

    @property
    def input_used(self) -> int:
        """Bytes of input that may still wait for the node."""
        return self._inward.used

    def drained(self) -> None:
        """The node has taken its input: the client may send more, once that may be recorded."""
        self._owes_credit = self.journal.is_held_back
        if self._owes_credit:
            return
        granted = self._inward.regrant(scarce=self.budget.is_spent)
        if granted and self.ending is None:
            self._say(SessionFrame(window=SessionWindow(credit=granted)))

    def input_over(self) -> None:
        """The client sends no more input; again is harmless."""
        if not self._input_over:
            self._input_over = True
            if self.ending is None and (self.recorded.input_ended or self._keep(self.journal.eof, Stream.INPUT)):
                self.recorded.input_ended = True
                self.upstream.write_eof()

    def no_more_frames(self) -> None:
        """The client has closed its end of the call, which says as much as an eof."""
        self.input_over()

    def client_gone(self, message: str) -> None:
        """Nobody is there any more to send anything to."""
        if self.ending is None:
            self._cut(Ending(End.CLIENT_GONE, message))

    def _hung_up(self) -> None:
        """The client leaves for good."""
        if not self._said_exit:
            self._cut(self.ending or Ending(End.CLIENT_GONE, "The client left."))

    def _granted(self, credit: int) -> None:
        self._outward.grant(credit)

    def _keep_input(self, payload: bytes, offset: int) -> bool:
        recorded = self.recorded
        if offset < recorded.input:
            payload, offset = recorded.new_input(offset, payload), recorded.input
            if not payload:
                return True
        if not self._keep(self.journal.input, payload, offset):
            return False
        recorded.input = offset + len(payload)
        return True

    def _resize(self, columns: int, rows: int) -> None:
        if not (1 <= columns <= MAX_TERMINAL_SIDE and 1 <= rows <= MAX_TERMINAL_SIDE):
            raise broken(f"a terminal of {columns} by {rows}")
        if (columns, rows) == self._size or self.ending is not None:
            return
        self._pace.take(self._steady())
        self._size = (columns, rows)
        if self._keep(self.journal.resize, columns, rows):
            self.upstream.resize(columns, rows)

    def _signal(self, name: str) -> None:
        if name not in SIGNALS:
            raise broken(f"an unknown signal, {name[:16]!r}")
        self._pace.take(self._steady())
        if self.ending is None and self._keep(self.journal.signal, name):
            self.upstream.signal(name)

    # -- from the node ------------------------------------------------------------------------------------------

    def output(self, data: bytes, stderr: bool) -> None:
        """A chunk of output: into the recording, then on its way."""
        if self.ending is not None:
            return
        now = self.active_at = self._steady()
        recorded = self.recorded
        new = recorded.new_output(data) if recorded.repeated else data
        if stderr:
            if not self._keep(self.journal.stderr, new, recorded.errors):
                return
            recorded.errors += len(new)
        else:
            if not self._keep(self.journal.output, new, recorded.main):
                return
            recorded.main += len(new)
        if self._log is not None:
            self._log(new, stderr)
        if self.journal.is_held_back and not self._paused:
            self._pause()
            self.notice(HELD_BACK, "warning")
        if not self.is_attended:
            return
        outward, size = self._outward, len(data)
        outward.add(SESSION_STREAM_STDERR if stderr else SESSION_STREAM_MAIN, data)
        if outward.is_full and not self._paused:
            self._pause()
        if outward.size == size or outward.size >= MAX_PAYLOAD or now - self._flushed_at >= COALESCE_SECONDS:
            self.wake()

    def _pause(self) -> None:
        self._paused = True
        self.upstream.pause_reading()

    def _go_on(self) -> None:
        """Reads from the node again, where client and recording have room."""
        if self._paused and self._outward.is_low and not self.journal.is_held_back:
            self._paused = False
            self.upstream.resume_reading()

    def ended(self, end: UpstreamEnd) -> None:
        """The node's side is over; what waits still goes to the client, and then how it ended."""
        if self.ending is not None:
            return
        match end:
            case Exited(status):
                self._keep_exit(status)
                ending = Ending(End.EXITED, status=status)
            case Signalled(signal):
                self._keep_exit(128, signal)
                ending = Ending(End.EXITED, signal=signal)
            case lost:
                ending = Ending(End.NODE_GONE, f"The connection to the node was lost: {lost.message}")
        if self.ending is None:  # a recording that failed just now ended it otherwise
            self.ending = ending
            self.wake()

    def _keep_exit(self, status: int, signal: str = "") -> None:
        if not self.recorded.exited:
            self.recorded.exited = True
            self._keep(self.journal.exit, status, signal)

    # -- from the gateway ---------------------------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """The first frame, whatever waits already: the node is there, and will be heard from now on."""
        self._control.appendleft(encode(SessionFrame(opened=self._opened(session))))
        self.wake()

    def pass_time(self) -> None:
        """Called a few times a second."""
        if self.ending is None:
            self._go_on()
            if self._owes_credit:
                self.drained()

    def finish(self, message: str) -> Ending:
        """Nothing follows: lets go of the node. How the session ended; by `message` if it went on till now."""
        if not self.is_cut:
            self._cut(self.ending or Ending(End.CLIENT_GONE, message))
        assert self.ending is not None
        return self.ending

    def _opened(self, session: Session) -> SessionOpened:
        ends_at = Timestamp()
        ends_at.FromDatetime(session.ends_at)
        return SessionOpened(
            session_id=session.id,
            node_id=session.node_id,
            login=session.login,
            credit=self._inward.credit,
            ends_at=ends_at,
            recorded=self.journal is not UNRECORDED,
        )

    def notice(self, text: str, severity: str = "info") -> None:
        """Tells the person something; it is recorded, and no part of the node's output."""
        if not self._said_exit:
            self._keep(self.journal.notice, text)
            self._say(SessionFrame(notice=SessionNotice(text=text, severity=severity)))

    def end(self, ending: Ending) -> None:
        """Cuts the node off at once and tells the client why. What the client had no room for is dropped."""
        if self._said_exit or self.is_cut:
            return
        self._cut(ending)
        self.notice(ending.message, "end")

    def recording_failed(self, reason: str) -> None:
        """Ends a strict session; another goes on unrecorded, and its user is told."""
        if self.journal is UNRECORDED or self._said_exit:
            return
        self.journal = UNRECORDED
        if self._strict:
            self.end(Ending(End.RECORDING_FAILED, f"The recording failed, so the session was ended: {reason}"))
            return
        self.notice(f"This session is no longer recorded: {reason}", "warning")
        if self._unrecorded is not None:
            self._unrecorded(reason)

    # -- to the client ------------------------------------------------------------------------------------------

    def next_control(self) -> bytes | None:
        """The next encoded frame that is no data; the last of all is the exit. None: none now.

        Raises Refused once the client has broken the protocol: there is no more to say.
        """
        if self._broken is not None:
            raise self._broken
        if self._control:
            return self._control.popleft()
        if self.ending is not None and not self._outward.size and not self._said_exit:
            self._said_exit = True
            return encode(SessionFrame(exit=_exit(self.ending)))
        return None

    def next_output(self) -> bytes | None:
        """The next encoded data frame; None while there is none, no credit, or more is being gathered."""
        due = self.due_in()
        if due is None or due > 0:
            return None
        frame = self._outward.next_frame()
        self._flushed_at = self._steady()
        self._go_on()
        return frame

    def due_in(self) -> float | None:
        """Seconds until what waits for the client goes on, 0: now; None: nothing waits that it has room for."""
        outward = self._outward
        if not outward.is_ready:
            return None
        if outward.size >= MAX_PAYLOAD or self.ending is not None:
            return 0.0
        return max(0.0, self._flushed_at + COALESCE_SECONDS - self._steady())

    @property
    def is_over(self) -> bool:
        """Everything has been said."""
        return self._said_exit and not self._control

    @property
    def awaits_hangup(self) -> bool:
        """Everything has been said, and the client will say whether it was heard."""
        return False

    def _say(self, frame: SessionFrame) -> None:
        if self.is_attended:
            self._control.append(encode(frame))
            self.wake()

    def _cut(self, ending: Ending) -> None:
        self.ending = ending
        self.is_cut = True
        self._outward.drop()
        self.upstream.close()
        self.wake()

    def _keep(self, write: Callable[_Values, None], *values: _Values.args, **named: _Values.kwargs) -> bool:
        """Puts something into the recording; whether it may go on."""
        try:
            write(*values, **named)
        except RecordingFailed as failure:
            self.recording_failed(str(failure))
            return not self.is_cut
        return True


def _exit(ending: Ending) -> SessionExit:
    frame = SessionExit(end=SessionEnd.Value(f"SESSION_END_{ending.end}"), message=ending.message)
    if ending.status is not None:
        frame.status = ending.status
    elif ending.signal:
        frame.signal = ending.signal
    return frame

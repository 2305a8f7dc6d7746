"""A session's frames, as session.proto has them: offsets and credit both ways, over one call or several."""

import time

from clients.cli.outbox import Outbox
from clients.cli.wire.channel import Call, Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import ResumeSession, SessionFrame, SessionOpened

CONNECT = "/jitgate.v1.SessionService/Connect"
OUTPUT_CREDIT = 4 << 20  # bytes of output that may be on their way or unwritten here
LEAST_CREDIT = 1 << 20  # after a break, however much of what came before it is still unwritten
GRANT_AT = 256 << 10  # bytes written: the node keeps what was not granted, and that is little
INPUT_AT_ONCE = 128 << 10
REPEATED_AT_ONCE = 16 << 10  # smaller, so that there is headway over a line that breaks again and again
KEPT_INPUT = 1 << 20  # bytes sent that are kept, should the gateway need them again
RESUME_SECONDS = 30.0  # for the gateway to find the node again, which it gives 20 s
FAREWELL_SECONDS = 1.0


def begin(channel: Channel, first: SessionFrame) -> Call:
    """A Connect call whose first frame is sent. Raises CallFailed."""
    call = channel.call(CONNECT, timeout=None)
    call.send(first.SerializeToString())
    return call


def resume(channel: Channel, wanted: ResumeSession) -> tuple[Call, SessionOpened]:
    """Goes on with a live session by a call of its own. Raises CallFailed."""
    call = begin(channel, SessionFrame(resume=wanted))
    channel.watch()
    call.deadline = time.monotonic() + RESUME_SECONDS
    opened = answer(call)
    call.deadline = None
    if opened.session_id != wanted.session_id:
        raise _broken(call, "the gateway went on with another session")
    return call, opened


def answer(call: Call) -> SessionOpened:
    """What the gateway opened. Raises CallFailed when it refused."""
    frame = SessionFrame.FromString(call.receive() or b"")
    if frame.WhichOneof("frame") != "opened":
        raise _broken(call, "the gateway did not say that it opened the session")
    return frame.opened


class Session:
    """A session that is open, from the client's side. Its call may be replaced by another one."""

    def __init__(self, call: Call, opened: SessionOpened, credit: int = OUTPUT_CREDIT) -> None:
        """`credit` is what was granted to begin with."""
        self.call = call
        self.opened = opened
        self.is_resumable = opened.grace_seconds > 0
        if self.is_resumable:
            call.channel.watch()
        self.received = opened.output_offset  # bytes of output that arrived
        self._granted = self.received + credit  # bytes of output that the gateway may have sent in all
        self._ungranted = 0
        self._input = Outbox(opened.input_offset, KEPT_INPUT if self.is_resumable else 0)
        self._input_credit = self._usable(opened.credit)
        self.input_ended = opened.input_ended
        self._eof_sent = opened.input_ended
        self._hung_up = False

    # A broken call

    def resumption(self, unwritten: int) -> ResumeSession:
        """How to go on from here, but for a token. `unwritten`: bytes that arrived and wait to be written."""
        wanted = ResumeSession(session_id=self.opened.session_id, received=self.received)
        wanted.credit = max(OUTPUT_CREDIT - unwritten, LEAST_CREDIT)
        return wanted

    def go_on(self, call: Call, opened: SessionOpened, credit: int, unwritten: int) -> None:
        """The session goes on by `call`, as `resumption` asked. Raises CallFailed when that does not fit."""
        if opened.output_offset != self.received:
            raise _broken(call, "the gateway goes on at another place of the output")
        try:
            self._input.rewind(opened.input_offset)
        except ValueError as problem:
            raise _broken(call, f"the gateway asks for input that can't be repeated: {problem}") from None
        self.call = call
        self._granted = self.received + credit
        self._ungranted = -unwritten  # what is granted now acknowledges output after `received`
        self._input_credit = self._usable(opened.credit)
        self.input_ended = self.input_ended or opened.input_ended
        self._eof_sent = opened.input_ended
        self._send_waiting(REPEATED_AT_ONCE)

    # Output

    def take(self) -> SessionFrame | None:
        """The next frame that is already here, checked; input credit is taken note of. Raises CallFailed."""
        message = self.call.take()
        if message is None:
            if self.call.ended:
                raise CallFailed("UNAVAILABLE", "the gateway ended the session without saying why")
            return None
        frame = SessionFrame.FromString(message)
        kind = frame.WhichOneof("frame")
        if kind == "data":
            size = len(frame.data.payload)
            if frame.data.offset != self.received or self.received + size > self._granted:
                raise _broken(self.call, "the gateway sent output that does not follow what it sent before")
            self.received += size
        elif kind == "window":
            self._input_credit += frame.window.credit
            self._send_waiting()
        return frame

    def written(self, size: int) -> None:
        """Output went where it belongs: there is room for as much again."""
        self._ungranted += size
        if self._ungranted >= GRANT_AT and self.call.is_open:
            frame = SessionFrame()
            frame.window.credit = self._ungranted
            self._granted += self._ungranted
            self._ungranted = 0
            self.call.send(frame.SerializeToString())

    # Input

    @property
    def room(self) -> int:
        """Bytes of input that may be put in now; what can't be sent waits within bounds."""
        if self.input_ended:
            return 0
        if not self.call.is_open:
            return self._input.room
        if self._input.waiting or self.call.unsent >= 4 * INPUT_AT_ONCE:
            return 0
        return min(self._input_credit, INPUT_AT_ONCE)

    def put_input(self, data: bytes) -> None:
        """At most `room` bytes."""
        self._input.put(data)
        self._send_waiting()

    def end_input(self) -> None:
        self.input_ended = True
        self._send_waiting()

    def send_resize(self, columns: int, rows: int) -> None:
        frame = SessionFrame()
        frame.resize.columns, frame.resize.rows = columns, rows
        self.call.send(frame.SerializeToString())

    def send_signal(self, name: str) -> None:
        """Without "SIG"."""
        frame = SessionFrame()
        frame.signal.name = name
        self.call.send(frame.SerializeToString())

    def hang_up(self) -> None:
        """The session is needed no more."""
        if self.is_resumable and not self._hung_up:
            self._hung_up = True
            frame = SessionFrame()
            frame.hangup.SetInParent()
            self.call.send(frame.SerializeToString())

    def part(self) -> None:
        """After `hang_up`: gives the gateway a moment to read it. It ends the call when it has."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        while self.is_resumable and self.call.is_open and self.call.channel.wait(deadline):
            self.call.discard()

    def _send_waiting(self, at_once: int = INPUT_AT_ONCE) -> None:
        """What the gateway takes now, `at_once` bytes a frame; the end of input after the last of it."""
        if not self.call.is_open:
            return
        while self._input.waiting and self._input_credit:
            frame = SessionFrame()
            frame.data.offset = self._input.sent
            frame.data.payload = self._input.take(min(self._input_credit, at_once))
            self._input_credit -= len(frame.data.payload)
            self.call.send(frame.SerializeToString())
        if self.input_ended and not self._eof_sent and not self._input.waiting:
            self._eof_sent = True
            frame = SessionFrame()
            frame.eof.SetInParent()
            self.call.send(frame.SerializeToString())

    def _usable(self, credit: int) -> int:
        """What is on its way can be repeated as a whole."""
        return min(credit, KEPT_INPUT) if self.is_resumable else credit


def _broken(call: Call, message: str) -> CallFailed:
    """The failure of a call whose gateway does not keep to session.proto."""
    call.cancel()
    return CallFailed("INTERNAL", message)

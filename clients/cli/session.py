"""A session's frames, as session.proto has them: offsets and credit in both directions."""

from clients.cli.wire.channel import Call, Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import OpenSession, SessionFrame, SessionOpened

CONNECT = "/jitgate.v1.SessionService/Connect"
OUTPUT_CREDIT = 4 << 20  # bytes of output that may be on their way or unwritten here
INPUT_AT_ONCE = 128 << 10


class Session:
    """One Connect call, from the client's side."""

    def __init__(self, channel: Channel, opening: OpenSession) -> None:
        """Sends the opening frame; `wait_until_open` tells what became of it."""
        opening.credit = OUTPUT_CREDIT
        self.call: Call = channel.call(CONNECT, timeout=None)
        self.call.send(SessionFrame(open=opening).SerializeToString())
        self.input_credit = 0
        self._sent = 0
        self._received = 0
        self._granted = OUTPUT_CREDIT  # bytes of output that the gateway may have sent in all
        self._ungranted = 0

    def wait_until_open(self) -> SessionOpened:
        """What the gateway opened. Raises CallFailed when it refused."""
        message = self.call.receive()
        frame = SessionFrame.FromString(message or b"")
        if frame.WhichOneof("frame") != "opened":
            self._break("the gateway did not say that it opened the session")
        self.input_credit = frame.opened.credit
        return frame.opened

    def take(self) -> SessionFrame | None:
        """The next frame that is already here, checked; input credit is taken note of. Raises CallFailed."""
        message = self.call.take()
        if message is None:
            return None
        frame = SessionFrame.FromString(message)
        kind = frame.WhichOneof("frame")
        if kind == "data":
            size = len(frame.data.payload)
            if frame.data.offset != self._received or self._received + size > self._granted:
                self._break("the gateway sent output that does not follow what it sent before")
            self._received += size
        elif kind == "window":
            self.input_credit += frame.window.credit
        return frame

    def written(self, size: int) -> None:
        """Output went where it belongs: there is room for as much again."""
        self._ungranted += size
        if self._ungranted >= OUTPUT_CREDIT // 4:
            frame = SessionFrame()
            frame.window.credit = self._ungranted
            self._granted += self._ungranted
            self._ungranted = 0
            self.call.send(frame.SerializeToString())

    @property
    def takes_input(self) -> bool:
        """Whether the gateway granted credit and what was sent before is mostly on its way."""
        return self.input_credit > 0 and self.call.unsent < 4 * INPUT_AT_ONCE

    def send_input(self, data: bytes) -> None:
        """At most `input_credit` and INPUT_AT_ONCE bytes."""
        frame = SessionFrame()
        frame.data.offset = self._sent
        frame.data.payload = data
        self._sent += len(data)
        self.input_credit -= len(data)
        self.call.send(frame.SerializeToString())

    def send_eof(self) -> None:
        frame = SessionFrame()
        frame.eof.SetInParent()
        self.call.send(frame.SerializeToString())

    def send_resize(self, columns: int, rows: int) -> None:
        frame = SessionFrame()
        frame.resize.columns, frame.resize.rows = columns, rows
        self.call.send(frame.SerializeToString())

    def send_signal(self, name: str) -> None:
        """Without "SIG"."""
        frame = SessionFrame()
        frame.signal.name = name
        self.call.send(frame.SerializeToString())

    def _break(self, message: str) -> None:
        self.call.cancel()
        raise CallFailed("INTERNAL", message)

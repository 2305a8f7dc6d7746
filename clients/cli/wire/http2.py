"""HTTP/2 as a gRPC client needs it (RFC 9113), without IO: bytes in, bytes out.

Only what a gRPC server sends is understood; anything else that the RFC allows a server to say is skipped, and what
it forbids ends the connection. Header blocks are decoded by `hpack`, imported when the first one arrives: by then
the request is on its way, so the import costs no time.
"""

from collections import deque

from clients.cli.wire.failure import RESETS, CallFailed, of_trailers

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from hpack import Decoder

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0x0, 0x1, 0x8

FRAME_SIZE = 16_384  # that we take: the least that the RFC allows, and no slower than more
STREAM_WINDOW = 8 << 20
CONNECTION_WINDOW = 64 << 20
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = (1 << 31) - 1
LARGEST_HEADERS = 64 << 10
LARGEST_MESSAGE = 16 << 20
UNPROCESSED = 0x7  # REFUSED_STREAM


class ProtocolError(Exception):
    """The server broke HTTP/2: the connection can't be used any more."""


class Stream:
    """One call: what has arrived for it, and what waits until the server grants credit to send it."""

    __slots__ = (
        "ended",
        "failure",
        "half_closed",
        "headers",
        "inbox",
        "messages",
        "number",
        "unacknowledged",
        "unsent",
        "window",
    )

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window  # bytes that we may send
        self.unsent = bytearray()
        self.half_closed = False  # nothing more will be sent
        self.headers: dict[str, str] | None = None
        self.inbox = bytearray()
        self.messages: deque[bytes] = deque()
        self.unacknowledged = 0  # bytes that arrived since credit was last granted
        self.ended = False
        self.failure: CallFailed | None = None

    def end(self, failure: CallFailed | None) -> None:
        if not self.ended:
            self.ended = True
            self.failure = failure
            self.unsent.clear()


class Http2:
    """One connection. `received` takes what the socket gave; `out` holds what the socket shall take."""

    def __init__(self) -> None:
        self.out = bytearray(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.streams: dict[int, Stream] = {}
        self.refuses_calls = False  # GOAWAY came, or the numbers ran out: calls in flight go on, new ones can't
        self._in = bytearray()
        self._next = 1
        self._window = DEFAULT_WINDOW
        self._unacknowledged = 0
        self._peer_window = DEFAULT_WINDOW
        self._peer_frame = FRAME_SIZE
        self._decoder: Decoder | None = None
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, header block so far
        settings = ((2, 0), (4, STREAM_WINDOW), (5, FRAME_SIZE), (6, LARGEST_HEADERS))  # 2: no push
        body = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings)
        self._frame(SETTINGS, 0, 0, body)
        self._frame(WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))

    # Sending

    def open(self, path: str, authority: str, timeout_ms: int | None) -> Stream:
        """Begins a call of the gRPC method at `path`."""
        stream = Stream(self._next, self._peer_window)
        self.streams[stream.number] = stream
        self._next += 2
        self.refuses_calls = self.refuses_calls or self._next > LARGEST_WINDOW
        block = bytearray(b"\x83\x87")  # :method POST, :scheme https (RFC 7541, appendix A)
        for name, value in ((1, authority), (4, path), (31, "application/grpc"), (58, "jit")):
            block += _literal(value.encode(), name)
        block += _literal(b"trailers", 0, b"te")
        if timeout_ms is not None:
            block += _literal(b"%dm" % min(timeout_ms, 99_999_999), 0, b"grpc-timeout")
        self._frame(HEADERS, END_HEADERS, stream.number, block)
        return stream

    def send(self, stream: Stream, message: bytes) -> None:
        """Sends one gRPC message, as far as the server's credit reaches; the rest follows by itself."""
        if stream.ended:
            return
        stream.unsent += b"\0" + len(message).to_bytes(4, "big")
        stream.unsent += message
        self._push(stream)

    def finish(self, stream: Stream) -> None:
        """Nothing more will be sent."""
        if stream.ended or stream.half_closed:
            return
        stream.half_closed = True
        if not stream.unsent:
            self._frame(DATA, END_STREAM, stream.number, b"")

    def cancel(self, stream: Stream) -> None:
        """Gives a call up: nothing of it arrives any more."""
        if not stream.ended:
            self._frame(RST_STREAM, 0, stream.number, CANCEL.to_bytes(4, "big"))
            stream.end(CallFailed("CANCELLED", "the call was given up"))
        self.streams.pop(stream.number, None)

    def ping(self) -> None:
        """Asks the server for a sign of life."""
        self._frame(PING, 0, 0, bytes(8))

    def _push(self, stream: Stream) -> None:
        unsent = stream.unsent
        while unsent:
            size = min(len(unsent), stream.window, self._window, self._peer_frame)
            if size <= 0:
                return
            last = stream.half_closed and size == len(unsent)
            with memoryview(unsent) as view:
                self._frame(DATA, END_STREAM if last else 0, stream.number, view[:size])
            del unsent[:size]
            stream.window -= size
            self._window -= size

    def _frame(self, kind: int, flags: int, number: int, payload: bytes | bytearray | memoryview) -> None:
        head = len(payload) << 48 | kind << 40 | flags << 32 | number
        self.out += head.to_bytes(9, "big")
        self.out += payload

    # Receiving

    def received(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes from the server. ProtocolError when they can't be HTTP/2."""
        buffer = self._in
        buffer += data
        at, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while end - at >= 9:
                head = int.from_bytes(view[at : at + 9], "big")
                length = head >> 48
                if length > FRAME_SIZE:
                    raise ProtocolError("the server sent a frame that is too long")
                if end - at - 9 < length:
                    break
                with view[at + 9 : at + 9 + length] as payload:
                    self._take(head >> 40 & 0xFF, head >> 32 & 0xFF, head & 0x7FFFFFFF, payload)
                at += 9 + length
        del buffer[:at]

    def closed(self, code: str, message: str) -> None:
        """The connection is gone: every call that had not ended fails."""
        self.refuses_calls = True
        for stream in list(self.streams.values()):
            stream.end(CallFailed(code, message))
        self.streams.clear()

    def _take(self, kind: int, flags: int, number: int, payload: memoryview) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ProtocolError("the server broke off its headers")
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            self._block = (number, flags, bytearray(_unpadded(flags, payload)[5 if flags & PRIORITY else 0 :]))
            self._take_block(flags)
        elif kind == CONTINUATION:
            self._take_continuation(flags, number, payload)
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        elif kind == PING:
            if not flags & ACK:
                self._frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._take_window(number, int.from_bytes(payload[:4], "big") & 0x7FFFFFFF)
        elif kind == RST_STREAM:
            self._take_reset(number, int.from_bytes(payload[:4], "big"))
        elif kind == GOAWAY:
            self._take_goaway(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF, bytes(payload[8:264]))
        elif kind == PUSH_PROMISE:
            raise ProtocolError("the server pushed, which was turned off")

    def _take_data(self, flags: int, number: int, payload: memoryview) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged >= CONNECTION_WINDOW // 4:
            self._frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big"))
            self._unacknowledged = 0
        stream = self.streams.get(number)
        if stream is None:
            return  # cancelled a moment ago
        stream.unacknowledged += len(payload)
        if stream.unacknowledged >= STREAM_WINDOW // 4 and not flags & END_STREAM:
            self._frame(WINDOW_UPDATE, 0, number, stream.unacknowledged.to_bytes(4, "big"))
            stream.unacknowledged = 0
        self._take_messages(stream, _unpadded(flags, payload))
        if flags & END_STREAM:
            self._end(stream, CallFailed("UNKNOWN", "the server ended the call without a gRPC status"))

    def _take_messages(self, stream: Stream, payload: memoryview) -> None:
        inbox = stream.inbox
        inbox += payload
        while len(inbox) >= 5:
            size = int.from_bytes(inbox[1:5], "big")
            if inbox[0] or size > LARGEST_MESSAGE:
                self.cancel(stream)
                problem = "is compressed, which was not offered" if inbox[0] else f"has {size} bytes"
                stream.failure = CallFailed("RESOURCE_EXHAUSTED", f"a message of the server {problem}")
                return
            if len(inbox) < 5 + size:
                return
            with memoryview(inbox) as view:
                stream.messages.append(bytes(view[5 : 5 + size]))
            del inbox[: 5 + size]

    def _take_continuation(self, flags: int, number: int, payload: memoryview) -> None:
        if self._block is None or self._block[0] != number:
            raise ProtocolError("the server continued headers that it had not begun")
        self._block[2].extend(payload)
        if len(self._block[2]) > LARGEST_HEADERS:
            raise ProtocolError("the server sent headers that are too long")
        self._take_block(flags)

    def _take_block(self, flags: int) -> None:
        if not flags & END_HEADERS or self._block is None:
            return
        number, first_flags, block = self._block
        self._block = None
        headers = self._decode(bytes(block))
        stream = self.streams.get(number)
        if stream is None:
            return
        if first_flags & END_STREAM:
            self._end(stream, of_trailers({**(stream.headers or {}), **headers}))
        elif stream.headers is None:
            stream.headers = headers
            if headers.get(":status") != "200" or not headers.get("content-type", "").startswith(
                "application/grpc"
            ):
                self.cancel(stream)
                stream.failure = of_trailers({":status": headers.get(":status", "")})

    def _decode(self, block: bytes) -> dict[str, str]:
        from hpack import Decoder, HPACKError

        if self._decoder is None:
            self._decoder = Decoder(LARGEST_HEADERS)
        try:
            return {str(name): str(value) for name, value in self._decoder.decode(block)}
        except (HPACKError, UnicodeDecodeError) as error:
            raise ProtocolError("the server sent headers that can't be read") from error

    def _take_settings(self, flags: int, payload: memoryview) -> None:
        if flags & ACK:
            return
        for at in range(0, len(payload) - 5, 6):
            key, value = (
                int.from_bytes(payload[at : at + 2], "big"),
                int.from_bytes(payload[at + 2 : at + 6], "big"),
            )
            if key == 4:  # SETTINGS_INITIAL_WINDOW_SIZE: holds for open streams too
                for stream in self.streams.values():
                    stream.window += value - self._peer_window
                self._peer_window = value
            elif key == 5:  # SETTINGS_MAX_FRAME_SIZE
                self._peer_frame = value
        self._frame(SETTINGS, ACK, 0, b"")
        for stream in list(self.streams.values()):
            self._push(stream)

    def _take_window(self, number: int, increment: int) -> None:
        if number == 0:
            self._window += increment
            for stream in list(self.streams.values()):
                self._push(stream)
        elif number in self.streams:
            self.streams[number].window += increment
            self._push(self.streams[number])

    def _take_reset(self, number: int, code: int) -> None:
        stream = self.streams.get(number)
        if stream is not None:
            if code == NO_ERROR:
                failure = CallFailed("UNKNOWN", "the server broke the call off")
            else:
                failure = CallFailed(
                    RESETS.get(code, "INTERNAL"),
                    f"the server broke the call off (HTTP/2 error {code})",
                    unsent=code == UNPROCESSED,
                )
            self._end(stream, failure)

    def _take_goaway(self, last: int, debug: bytes) -> None:
        self.refuses_calls = True
        why = debug.decode("ascii", "replace")
        for stream in list(self.streams.values()):
            if stream.number > last:
                message = f"the gateway is shutting down{f' ({why})' if why else ''}"
                self._end(stream, CallFailed("UNAVAILABLE", message, unsent=True))

    def _end(self, stream: Stream, failure: CallFailed | None) -> None:
        if not stream.half_closed and failure is None:
            # The answer is complete before the request was: tell the server not to wait for more of it.
            self._frame(RST_STREAM, 0, stream.number, NO_ERROR.to_bytes(4, "big"))
        stream.end(failure)
        self.streams.pop(stream.number, None)


def _unpadded(flags: int, payload: memoryview) -> memoryview:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("the server padded a frame with more than it holds")
    return payload[1 : len(payload) - payload[0]]


def _literal(value: bytes, index: int, name: bytes = b"") -> bytes:
    """A header field without indexing (RFC 7541, 6.2.2): name by index into the static table, or spelt out."""
    field = _integer(index, 4)
    if name:
        field += _integer(len(name), 7) + name
    return field + _integer(len(value), 7) + value


def _integer(value: int, bits: int) -> bytes:
    """RFC 7541, 5.1, with the bits above `bits` clear."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((value,))
    encoded = bytearray((limit,))
    value -= limit
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

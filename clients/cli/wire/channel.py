"""Calls over one TLS connection: blocking for most commands, pumped by hand for a session's loop."""

import select
import socket
import ssl
import time

from clients.cli.wire.failure import CallFailed
from clients.cli.wire.http2 import Http2, ProtocolError, Stream

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0
ONE_KEY = 256  # bytes: a turn that began with fewer is an echo rather than a stream
READ_AT_ONCE = 1 << 20  # bytes that one turn takes from the socket before it looks at anything else
DEAD_AFTER_SECONDS = 30  # without a sign of life the connection is over
# For connections that are watched more closely. Servers take pings that come more often than every 10 s for abuse.
QUIET_SECONDS = 12.0
ANSWER_SECONDS = 5.0


class ConnectionFailed(CallFailed):
    """No connection, or none that can be trusted. `__cause__` is what the socket or TLS said."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message, unsent=True)

    @property
    def may_pass(self) -> bool:
        return not isinstance(self.__cause__, ssl.SSLCertVerificationError)


class Channel:
    """A connection to `address` ("host:port"), made anew for the next call when the server closes it.

    The constructor dials and sends the first half of the TLS handshake; the first call finishes it. What a command
    imports in between costs no time. Raises ConnectionFailed.
    """

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.address = address
        self._context = context
        self._buffer = bytearray(READ_AT_ONCE)
        self._is_watched = False
        self._heard = 0.0  # when something last came (monotonic)
        self._asked = 0.0  # when we asked for a sign of life that has not come yet; 0: we did not
        self._begin()

    def call(self, path: str, timeout: float | None = CALL_SECONDS) -> "Call":
        """Begins a call of the method at `path`, for example "/jitgate.v1.NodeService/GetNode"."""
        if self._http.refuses_calls:
            self.close()
            self._begin()
        self._finish_handshake()
        deadline = None if timeout is None else time.monotonic() + timeout
        milliseconds = None if timeout is None else int(timeout * 1000)
        return Call(self, self._http, self._http.open(path, self.address, milliseconds), deadline)

    def unary(self, path: str, request: "Message", answer: "type[M]", timeout: float | None = CALL_SECONDS) -> "M":
        """One message there, one back. Raises CallFailed; what the server surely never saw is sent again."""
        try:
            return self._unary(path, request, answer, timeout)
        except CallFailed as failed:
            if not failed.unsent or isinstance(failed, ConnectionFailed):
                raise
            return self._unary(path, request, answer, timeout)

    def stream(
        self, path: str, request: "Message", answer: "type[M]", timeout: float | None = None
    ) -> "Iterator[M]":
        """One message there, many back. Raises CallFailed where the stream breaks."""
        call = self.call(path, timeout)
        try:
            call.send(request.SerializeToString())
            call.finish()
            while (message := call.receive()) is not None:
                yield answer.FromString(message)
        finally:
            call.cancel()

    def _unary(self, path: str, request: "Message", answer: "type[M]", timeout: float | None) -> "M":
        call = self.call(path, timeout)
        call.send(request.SerializeToString())
        call.finish()
        message = call.receive()
        while call.receive() is not None:
            pass  # to the trailers: they say whether it went well
        if message is None:
            raise CallFailed("INTERNAL", "the gateway answered nothing")
        return answer.FromString(message)

    # The connection

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._http.out)

    def flush(self) -> None:
        """Writes what the socket takes now."""
        out = self._http.out
        try:
            while out:
                sent = self._socket.send(out)
                del out[:sent]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            out.clear()  # what the server said before it closed is still to be read; reading tells why it did

    def read(self) -> None:
        """Takes what has arrived, about READ_AT_ONCE at most, without waiting for more."""
        size, refused = 0, False
        with memoryview(self._buffer) as view:
            try:
                closed = ""
                while size < READ_AT_ONCE:
                    count = self._socket.recv_into(view[size:])
                    size += count
                    if not count:
                        closed = "the gateway closed the connection"
                        break
                    if size < ONE_KEY:
                        break  # trying for more would mostly find nothing; the next turn finds it as soon
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                closed = ""
            except OSError as error:
                closed = tls_problem(error)
                refused = isinstance(error, ssl.SSLError) and "certificate" in closed
            if size:
                self._heard, self._asked = time.monotonic(), 0.0
            try:
                self._http.received(view[:size])
            except ProtocolError as error:
                closed = str(error)
        if closed:
            self._http.closed("UNAUTHENTICATED" if refused else "UNAVAILABLE", closed)
        self.flush()

    def watch(self) -> None:
        """From now on a gateway that vanishes without a word is noticed within QUIET_SECONDS + ANSWER_SECONDS."""
        self._is_watched, self._heard = True, time.monotonic()

    def beat(self) -> float | None:
        """Asks a silent gateway for a sign of life, or gives it up; call it again within that many seconds.

        None: there is nothing to watch. 0: it is given up. To be called after what has arrived was read.
        """
        if not self._is_watched:
            return None
        now = time.monotonic()
        if not self._asked:
            if (left := self._heard + QUIET_SECONDS - now) > 0:
                return left
            self._asked = now
            self._http.ping()
            self.flush()
        elif now >= self._asked + ANSWER_SECONDS:
            self._is_watched = False
            self._http.closed("UNAVAILABLE", "the gateway does not answer any more")
            return 0.0
        return self._asked + ANSWER_SECONDS - now

    def has_buffered(self) -> bool:
        """Whether TLS holds bytes that no poll of the socket would show."""
        return self._socket.pending() > 0

    def wait(self, deadline: float | None) -> bool:
        """Waits for something to arrive, writing what it can; False when the deadline (monotonic) has passed.

        True also when the gateway was found to be gone: calls have ended then.
        """
        while True:
            self.flush()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if (beat := self.beat()) is not None:
                if not beat:
                    return True
                left = beat if left is None else min(left, beat)
            writable = [self._socket] if self.wants_to_write else []
            readable, _, _ = (
                ([self._socket], [], []) if self.has_buffered() else _select(self._socket, writable, left)
            )
            if readable:
                self.read()
                return True

    def close(self) -> None:
        self._http.closed("UNAVAILABLE", "the connection was closed")
        self._socket.close()

    def _begin(self) -> None:
        self._http = Http2()
        host, port = split_address(self.address)
        plain = _dial(host, port)
        try:
            _tune(plain)
            # Bytes, because Python would import its codec for international names to encode a str: 3 ms.
            name = host.encode() if host.isascii() else host
            self._socket = self._context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        except OSError as error:
            plain.close()
            raise ConnectionFailed(tls_problem(error)) from error
        self._socket.setblocking(False)
        self._shaken = False
        self._step()

    def _step(self) -> None:
        try:
            self._socket.do_handshake()
            self._shaken = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.close()
            raise ConnectionFailed(tls_problem(error)) from error

    def _finish_handshake(self) -> None:
        deadline = time.monotonic() + CONNECT_SECONDS
        while not self._shaken:
            left = deadline - time.monotonic()
            if left <= 0 or not _select(self._socket, [], left)[0]:
                self.close()
                raise ConnectionFailed(f"{self.address} accepts connections but does not answer")
            self._step()


class Call:
    """A call in flight. `receive` waits; `take` does not, for loops that pump the channel themselves."""

    def __init__(self, channel: Channel, http: Http2, stream: Stream, deadline: float | None) -> None:
        self.channel = channel
        self._http = http
        self._stream = stream
        self.deadline = deadline  # monotonic, for those who wait; None: they wait as long as it takes

    @property
    def unsent(self) -> int:
        """Bytes that wait for the server's credit or for the socket."""
        return len(self._stream.unsent) + len(self._http.out)

    def send(self, message: bytes) -> None:
        self._http.send(self._stream, message)
        self.channel.flush()

    def finish(self) -> None:
        """Nothing more will be sent."""
        self._http.finish(self._stream)
        self.channel.flush()

    def take(self) -> bytes | None:
        """The next message that is already here. Raises CallFailed when the call broke instead."""
        if self._stream.messages:
            return self._stream.messages.popleft()
        if self._stream.ended and self._stream.failure is not None:
            raise self._stream.failure
        return None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._stream.ended and not self._stream.messages

    @property
    def is_open(self) -> bool:
        """Whether the server may still take what is sent."""
        return not self._stream.ended

    def discard(self) -> None:
        """Forgets what has arrived."""
        self._stream.messages.clear()

    def receive(self) -> bytes | None:
        """Waits for the next message; None after the last one. Raises CallFailed."""
        self.peek()
        return self.take()

    def peek(self) -> None:
        """Waits until there is a message to take, or the end. Raises CallFailed."""
        while not self._stream.messages and not self._stream.ended:
            if not self.channel.wait(self.deadline):
                self.cancel()
                raise CallFailed("DEADLINE_EXCEEDED", "the gateway did not answer in time")
        if not self._stream.messages and self._stream.failure is not None:
            raise self._stream.failure

    def cancel(self) -> None:
        """Gives the call up. Harmless when it has ended."""
        self._http.cancel(self._stream)
        self.channel.flush()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port". ValueError otherwise."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def tls_problem(error: OSError) -> str:
    """What went wrong, for people, from what the socket or OpenSSL says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the gateway's certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "the gateway closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS with the gateway failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return error.strerror or str(error)


def _dial(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host.encode() if host.isascii() else host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionFailed(f"the name {host} is not known") from error
    problem: OSError | None = None
    for family, kind, protocol, _, where in found:
        plain = socket.socket(family, kind, protocol)
        plain.settimeout(CONNECT_SECONDS)
        try:
            plain.connect(where)
        except OSError as error:
            plain.close()
            problem = error
        else:
            return plain
    why = "it does not answer" if isinstance(problem, TimeoutError) else (problem and problem.strerror) or problem
    raise ConnectionFailed(f"{host}:{port} can't be reached: {why}") from problem


def _tune(plain: socket.socket) -> None:
    """No waiting to fill packets; a peer that is gone is noticed without traffic of our own."""
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": DEAD_AFTER_SECONDS // 2,
        "TCP_KEEPINTVL": DEAD_AFTER_SECONDS // 6,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": DEAD_AFTER_SECONDS * 1000,
    }
    for name, value in options.items():
        if hasattr(socket, name):  # systems differ
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _select(
    readable: socket.socket, writable: list[ssl.SSLSocket], timeout: float | None
) -> tuple[list[socket.socket], list[ssl.SSLSocket], list[socket.socket]]:
    return select.select([readable], writable, [], timeout)

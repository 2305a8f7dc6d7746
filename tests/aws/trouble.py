"""A proxy before an S3 or KMS server that fails as a test says: what moto and rclone never do by themselves."""

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "expect", "date", "server"}


@dataclass
class Call:
    """A request as it came, and what it is answered with; a trouble may change it before it goes on."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes = field(repr=False)

    @property
    def operation(self) -> str:
        """The name of a KMS operation; empty for S3."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Hang(Exception):
    """No answer until the proxy stops."""


class Reset(Exception):
    """The connection is reset."""


Ask = Callable[[], Answer]
"""Asks the real server."""
Trouble = Callable[[Call, Ask], Answer]
"""Gets the call and may ask the real server; answers, or raises Hang or Reset."""


def none(_: Call, ask: Ask) -> Answer:
    return ask()


def hang(_call: Call, _ask: Ask) -> Answer:
    raise Hang


def reset(_call: Call, _ask: Ask) -> Answer:
    raise Reset


class Troubled:
    """The proxy. `trouble` may be changed at any time; `calls` are all that came."""

    def __init__(self, upstream: str) -> None:
        self.trouble: Trouble = none
        self.calls: list[Call] = []
        self.stopping = threading.Event()
        self._upstream = urlsplit(upstream).netloc
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_PUT(self) -> None:
                outer.handle(self)

            do_GET = do_HEAD = do_POST = do_DELETE = do_PUT  # noqa: N815 - as above

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        call = Call(
            request.command, request.path, {key.lower(): value for key, value in request.headers.items()}, body
        )
        self.calls.append(call)
        try:
            answer = self.trouble(call, lambda: self._ask(call))
        except Hang:
            self.stopping.wait()
            request.close_connection = True
            return
        except Reset:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            request.close_connection = True
            return
        with contextlib.suppress(OSError):  # who asked may have given up
            request.send_response(answer.status)
            for key, value in answer.headers.items():
                request.send_header(key, value)
            if "Content-Length" not in answer.headers:
                request.send_header("Content-Length", str(len(answer.body)))
            request.end_headers()
            request.wfile.write(b"" if call.method == "HEAD" else answer.body)
            if len(answer.body) < int(answer.headers.get("Content-Length", 0)):
                request.close_connection = True

    def _ask(self, call: Call) -> Answer:
        kept = {key: value for key, value in call.headers.items() if key not in _HOP}
        with contextlib.closing(http.client.HTTPConnection(self._upstream, timeout=30)) as connection:
            connection.request(call.method, call.path, call.body, kept)
            response = connection.getresponse()
            headers = {key: value for key, value in response.getheaders() if key.lower() not in _HOP}
            return Answer(response.status, headers, response.read())


@contextlib.contextmanager
def troubled(upstream: str) -> Iterator[Troubled]:
    proxy = Troubled(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


def s3_error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>said by a stand-in</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def stored_but_reset(_call: Call, ask: Ask) -> Answer:
    """S3 did what it was asked to, and its answer is lost."""
    ask()
    raise Reset


def slow_down(_call: Call, _ask: Ask) -> Answer:
    return s3_error(503, "SlowDown")


def refused(_call: Call, _ask: Ask) -> Answer:
    return s3_error(403, "AccessDenied")


def another_receipt(_call: Call, ask: Ask) -> Answer:
    """Stored, and 200 with the checksum of something else."""
    answer = ask()
    answer.headers["x-amz-checksum-sha256"] = "AAAA"
    return answer


def nothing_stored(_call: Call, _ask: Ask) -> Answer:
    """200 with the checksum of something else, and nothing is there."""
    return Answer(200, {"ETag": '"0"', "x-amz-checksum-sha256": "AAAA"}, b"")


def sts_error(code: str, message: str) -> Answer:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(403, {"Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>".encode())


def kms_error(code: str, message: str = "said by a stand-in", status: int = 400) -> Answer:
    body = json.dumps({"__type": code, "message": message})
    return Answer(status, {"Content-Type": "application/x-amz-json-1.1"}, body.encode())

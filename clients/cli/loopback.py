"""Where the browser comes back to at the end of a sign-in: a listener on the loopback address (RFC 8252)."""

import hmac
import queue
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clients.cli.errors import Failure

_READ_SECONDS = 5  # browsers open connections that they may never use
_PAGE = b"""<!doctype html><meta charset="utf-8"><title>jit</title>
<p>Back to the terminal: jit tells there whether you are signed in. You can close this page.</p>
"""


class Listener:
    """Use it as a context. Raises Failure when none of `ports` (empty: any) is free."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._answers: queue.Queue[dict[str, str]] = queue.Queue(maxsize=1)
        self._state = ""
        self._server = _bound(ports or (0,), self._handler())
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def expect(self, state: str) -> None:
        """From now on a request with that `state` is the browser's; any other one is nobody's business."""
        self._state = state

    def wait(self, seconds: float) -> dict[str, str]:
        """What the browser brought back. Raises Failure when it does not come."""
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            raise Failure(
                "the browser did not come back in time",
                "Try again: jit login. Where the browser is on another machine: jit login --device",
            ) from None

    def _take(self, target: str) -> bool:
        try:
            pairs = parse_qsl(urlsplit(target).query, max_num_fields=20)
        except ValueError:
            return False
        answer = dict(pairs)
        if len(answer) != len(pairs) or not self._state:
            return False
        if not hmac.compare_digest(answer.get("state", "").encode(), self._state.encode()):
            return False
        try:
            self._answers.put_nowait(answer)
        except queue.Full:
            return False
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            timeout = _READ_SECONDS

            def do_GET(self) -> None:
                taken = take(self.path)
                self.send_response(200 if taken else 404)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(_PAGE if taken else b"Nobody waits for this.\n")

            def log_message(self, *_: Any) -> None:
                """Nothing: the address has the code in it."""

        return Handler


def _bound(ports: Sequence[int], handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    for port in ports:
        try:
            server = _Server(("127.0.0.1", port), handler)
        except OSError:
            continue
        return server
    wanted = ", ".join(map(str, ports))
    raise Failure(
        f"the browser can't come back: none of the ports {wanted} is free on this machine",
        "Close what uses them, or sign in with a code: jit login --device",
    )


class _Server(ThreadingHTTPServer):
    allow_reuse_address = False  # on Windows it would let somebody else listen here as well
    daemon_threads = True

"""Around every answer: headers that browsers obey, a deadline, a limit of how many at once, a span, a log line."""

import asyncio
import time

import structlog
from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.pages import message_page

_SECONDS = 30.0
_log = structlog.get_logger("jitgate.http")
_tracer = trace.get_tracer("jitgate.http")

_CSP = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS = {
    b"content-security-policy": _CSP.encode(),
    b"strict-transport-security": b"max-age=31536000",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    # Not no-referrer: browsers then call the origin of our own forms "null".
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"cache-control": b"no-store",
}


class Frame:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, *, at_once: int, seconds: float = _SECONDS) -> None:
        self._app = app
        self._at_once = at_once
        self._seconds = seconds
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.monotonic()
        log: dict[str, object] = {"method": scope["method"], "route": "-", "reason": "", "status": 0}
        scope["jitgate.log"] = log

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                log["status"] = message["status"]
                named = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _HEADERS.items() if name not in named),
                ]
            await send(message)

        self._running += 1
        try:
            with _tracer.start_as_current_span("http", kind=trace.SpanKind.SERVER):
                await self._answer(scope, receive, send_framed, log)
        finally:
            self._running -= 1
            client = scope.get("client")
            milliseconds = round((time.monotonic() - started) * 1000)
            _log.info("request", **log, peer=client[0] if client else "", ms=milliseconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, log: dict[str, object]) -> None:
        if self._running > self._at_once:
            log["reason"] = "BUSY"
            busy = message_page(503, "Too many people are asking at this moment.", "Try again in a few seconds.")
            busy.headers["Retry-After"] = "2"
            busy.headers["Connection"] = "close"
            await busy(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, send)
        except TimeoutError:
            log["reason"] = "TIMEOUT"
            await _unless_begun(message_page(503, "That took too long.", "Try again."), scope, receive, send)
        except asyncio.CancelledError:
            # Only the listener's stop cancels requests, and nobody waits for this task to say that it was.
            log["reason"] = "STOPPED"
            await _unless_begun(message_page(503, "The gateway stops.", "Try again later."), scope, receive, send)
        except Exception:  # noqa: BLE001  # whatever fails in a request ends that request, never the server
            log["reason"] = "INTERNAL"
            _log.exception("request_failed", route=log["route"])
            sorry = message_page(500, "The gateway failed; its log says why.", "Try again, or tell its operator.")
            await _unless_begun(sorry, scope, receive, send)


async def _unless_begun(response: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    if not scope["jitgate.log"]["status"]:
        await response(scope, receive, send)

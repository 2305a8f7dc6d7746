"""Between a request and its route: the whole body, who asks, what they may, and refusals in one form."""

from urllib.parse import urlencode

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.api import failures
from gateway.errors import Kind, Refused
from gateway.http import cookies
from gateway.http.forms import check_csrf, form_not_ours, parsed
from gateway.http.routes import Asked, Route
from gateway.identity.browser_sessions import BrowserSessions
from gateway.store.failures import DatabaseUnavailable, WriteConflict
from jitgate.v1.annotations_pb2 import Permission

_log = structlog.get_logger("jitgate.http")
_READING = ("GET", "HEAD")
_NO_GRANT = (Permission.PERMISSION_PUBLIC, Permission.PERMISSION_SIGNED_IN)


class Answering:
    """The ASGI application of one route. Nothing reaches the route's own code but through here."""

    def __init__(self, route: Route, sessions: BrowserSessions) -> None:
        self._route = route
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        log = scope["jitgate.log"]  # what the frame writes when it is over
        log["route"] = self._route.path
        try:
            response = await self._answer(request, log)
        except (Refused, DatabaseUnavailable, WriteConflict) as stopped:
            refused = failures.refusal_of(stopped)
            log["reason"] = refused.reason
            response = self._route.refused(refused)
        except ClientDisconnect:
            log["reason"] = "GONE"
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request, log: dict[str, object]) -> Response:
        body = await _body(request, self._route.max_body_bytes)
        source = request.client.host if request.client else ""
        needs = self._route.needs
        if needs is None:
            raise RuntimeError("a route without a permission was served")
        if not isinstance(needs, int):
            proven = await needs.prove(request, body)
            log["user"] = proven
            return await self._route.answer(Asked(request, source, body, proven=proven))
        found = await self._sessions.caller(cookies.read(request, cookies.SESSION), source)
        if needs == Permission.PERMISSION_PUBLIC:
            # Whoever is signed in is not asked for anything here: public forms guard themselves.
            session, caller = found or (None, None)
            return await self._route.answer(Asked(request, source, body, session, caller))
        if found is None:
            return _sign_in_first(request)
        session, caller = found
        log["user"] = caller.user.id
        if request.method not in _READING:
            check_csrf(request, parsed(request, body), session.secret)
        if needs not in _NO_GRANT:
            caller.require(needs)
        return await self._route.answer(Asked(request, source, body, session, caller))


async def _body(request: Request, limit: int) -> bytes:
    """Raises Refused TOO_LARGE, ClientDisconnect."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> Refused:
    message = f"more was sent than the {limit} bytes that are taken here"
    return Refused(Kind.INVALID_ARGUMENT, "TOO_LARGE", message, "Send less.")


def _sign_in_first(request: Request) -> Response:
    """A form that was sent without a session is lost; the page that it stood on comes after the sign-in."""
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method not in _READING:
        raise form_not_ours()
    return RedirectResponse(f"/sign-in?{urlencode({'to': request.url.path})}", 303)

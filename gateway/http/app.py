"""The web application: every part's routes behind one frame."""

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from gateway.http import routes as declared
from gateway.http.answering import Answering
from gateway.http.frame import Frame
from gateway.http.pages import message_page
from gateway.http.routes import Route
from gateway.identity.browser_sessions import BrowserSessions


def application(routes: Iterable[Route], sessions: BrowserSessions, *, at_once: int) -> ASGIApp:
    """Raises UndeclaredPermission for routes that need nothing."""
    listed = list(routes)
    declared.check(listed)
    app = Starlette(
        routes=[
            StarletteRoute(route.path, Answering(route, sessions), methods=[route.method]) for route in listed
        ],
        exception_handlers={HTTPException: _nothing_there},
    )
    app.router.redirect_slashes = False
    return Frame(app, at_once=at_once)


async def _nothing_there(_request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)
    return message_page(failure.status_code, "There is no such page.", "Check the address.")

"""What a part of the web listener declares: its routes, and what each needs to be shown.

A part is a file with a function or class that gives `Route`s; `gateway/assembly.py` lists it in `http_routes`. A
route without a permission or a proof is refused at start-up, as a method of the contract is (R32).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.permissions import UndeclaredPermission
from gateway.errors import Refused
from gateway.http.forms import csrf_token, parsed
from gateway.http.pages import refusal_page
from gateway.identity.browser_sessions import BrowserSession
from gateway.identity.caller import Caller
from jitgate.v1.annotations_pb2 import Permission

MAX_BODY_BYTES = 64 << 10


class Proof(Protocol):
    """How callers of a route prove themselves that are no people in browsers: a signature, a token."""

    async def prove(self, request: Request, body: bytes) -> str:
        """Who it is, in a word for the log. Raises Refused for everybody else; compares in constant time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let through: its body is whole, and whoever sent it has proven what the route needs."""

    request: Request
    source_address: str
    body: bytes = field(repr=False)
    session: BrowserSession | None = None  # of a browser; with a permission other than PUBLIC it is there
    signed_in: Caller | None = None
    proven: str = ""  # what the route's proof said

    @property
    def caller(self) -> Caller:
        """Who asks, where the route needs a permission other than PUBLIC. Raises RuntimeError elsewhere."""
        if self.signed_in is None:
            raise RuntimeError("this route does not ask who calls")
        return self.signed_in

    def form(self) -> Mapping[str, str]:
        """The fields of a form; of several of one name, the last. Raises Refused MALFORMED_FORM."""
        return parsed(self.request, self.body)

    @property
    def csrf(self) -> str:
        """What forms on pages of this session carry in the field `csrf`."""
        if self.session is None:
            raise RuntimeError("there is no session to protect")
        return csrf_token(self.session.secret)


Answer = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path ("/requests/{id}").

    `needs` is a permission that a person signed in with this browser must have somewhere (PUBLIC: nobody has to be
    signed in; SIGNED_IN: no role is needed), or a proof. Scopes and objects are the part's own business. Where a
    person is needed, forms are refused unless they carry the session's `csrf`, and who is not signed in is sent to
    sign in. `refused` makes the answer of a refusal, for callers who don't read pages.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    answer: Answer
    needs: "Permission.ValueType | Proof | None" = None
    max_body_bytes: int = MAX_BODY_BYTES
    refused: Callable[[Refused], Response] = refusal_page


def check(routes: Iterable[Route]) -> None:
    """Raises UndeclaredPermission that names every route which needs nothing, not even that it is public."""
    undeclared = [
        f"{route.method} {route.path}"
        for route in routes
        if route.needs is None or route.needs == Permission.PERMISSION_UNSPECIFIED
    ]
    if undeclared:
        raise UndeclaredPermission(f"no permission or proof is declared for {', '.join(sorted(undeclared))}")

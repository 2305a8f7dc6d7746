"""Our cookies: sent over TLS only, to this host only, never to scripts."""

from starlette.requests import Request
from starlette.responses import Response

SESSION = "__Host-jitgate-session"
FLOW = "__Host-jitgate-sign-in"
"""The handle of a sign-in under way at an identity provider."""
VISIT = "__Host-jitgate-visit"
"""Who is not signed in yet: ties the sign-in form to the browser that asked for it."""
_MAXIMUM = 128


def read(request: Request, name: str) -> str:
    """Empty: there is none, or none of ours."""
    value = request.cookies.get(name, "")
    return value if len(value) <= _MAXIMUM and value.isascii() else ""


def put(response: Response, name: str, value: str, seconds: int) -> None:
    # Lax, not Strict: people come from mails and chats, and back from their identity provider.
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def drop(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")

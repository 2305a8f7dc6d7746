"""Forms: what was typed into them, and the proof that they were ours."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from gateway.errors import Kind, Refused

_MAX_FIELDS = 32
_FORM = "application/x-www-form-urlencoded"


def parsed(request: Request, body: bytes) -> Mapping[str, str]:
    """Raises Refused MALFORMED_FORM."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise _malformed()
    try:
        text = body.decode("ascii")  # anything else is percent-encoded
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise _malformed() from None


def csrf_token(secret: str) -> str:
    """What a form of the session with that secret carries. It does not lead back to the secret."""
    return hmac.digest(secret.encode(), b"jitgate form", hashlib.sha256).hex()


def check_csrf(request: Request, form: Mapping[str, str], secret: str) -> None:
    """Whether a page of ours sent the form. Raises Refused FORM_NOT_OURS."""
    given = form.get("csrf", "").encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(given, csrf_token(secret).encode()) or not _from_here(request):
        raise form_not_ours()


def _from_here(request: Request) -> bool:
    """What the browser itself says of where a form was sent from; older ones say nothing."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site in {"same-origin", "none"}
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def form_not_ours() -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        "FORM_NOT_OURS",
        "this form is too old, or did not come from a page of this gateway",
        "Open the page again and repeat what you did.",
    )


def _malformed() -> Refused:
    return Refused(Kind.INVALID_ARGUMENT, "MALFORMED_FORM", "the form cannot be read", "Go back and try again.")

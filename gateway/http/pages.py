"""Pages: templates that escape by themselves, and refusals that people can read."""

import hashlib
from datetime import UTC
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from gateway.errors import Kind, Refused
from notifiers.text import shown

_FOLDER = Path(__file__).parent / "templates"
_templates = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
STYLE = (Path(__file__).parent / "static" / "style.css").read_bytes()
STYLE_PATH = f"/style-{hashlib.sha256(STYLE).hexdigest()[:12]}.css"


def _moment(at: Timestamp) -> Markup:
    """Readable by people, and by machines that know their time zone."""
    when = at.ToDatetime(tzinfo=UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.isoformat(timespec="seconds"), f"{when:%Y-%m-%d %H:%M} UTC"
    )


def _hours(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours:g} hour{'' if hours == 1 else 's'}"


_templates.filters |= {"moment": _moment, "hours": _hours, "shown": shown}
_templates.globals["style_path"] = STYLE_PATH

_STATUSES = {
    Kind.INVALID_ARGUMENT: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.PERMISSION_DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.ALREADY_EXISTS: 409,
    Kind.FAILED_PRECONDITION: 409,
    Kind.ABORTED: 409,
    Kind.RESOURCE_EXHAUSTED: 429,
    Kind.UNAVAILABLE: 503,
}
_TITLES = {
    400: "That did not work",
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not found",
    409: "That is no longer possible",
    413: "Too large",
    429: "Please wait",
    500: "Something went wrong here",
    503: "Not available at the moment",
}


def page(template: str, code: int = 200, **values: object) -> HTMLResponse:
    """The page of that template (without `.html`)."""
    return HTMLResponse(_templates.get_template(f"{template}.html").render(values), code)


def status_of(refused: Refused) -> int:
    return 413 if refused.reason == "TOO_LARGE" else _STATUSES[refused.kind]


def refusal_page(refused: Refused) -> Response:
    """What went wrong and what to do, and nothing of how it came about."""
    status = status_of(refused)
    response = message_page(status, sentence(refused.message), sentence(refused.what_to_do))
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(refused.retry_after.total_seconds())))
    return response


def message_page(status: int, message: str, what_to_do: str = "") -> HTMLResponse:
    title = _TITLES.get(status, "That did not work")
    return page("message", status, title=title, message=message, what_to_do=what_to_do)


def sentence(text: str) -> str:
    """Refusals are written for a terminal, where some end without a stop. They may begin with an id: small."""
    return text if not text or text[-1] in ".:!?" else f"{text}."

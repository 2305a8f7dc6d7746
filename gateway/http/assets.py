"""What pages look like: one style sheet, no script."""

from starlette.responses import Response

from gateway.http.pages import STYLE, STYLE_PATH
from gateway.http.routes import Asked, Route
from jitgate.v1 import annotations_pb2 as declared


def routes() -> tuple[Route, ...]:
    return (Route("GET", STYLE_PATH, _style, declared.PERMISSION_PUBLIC),)


async def _style(_asked: Asked) -> Response:
    # Its name changes with its content.
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=86400, immutable"})

"""Where chat services post what people do in their messages: one path for each channel that takes it so (R30)."""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.chat.posts import ChatPosts
from gateway.errors import Kind, Refused
from gateway.http.pages import status_of
from gateway.http.routes import Answer, Asked, Route
from gateway.notices.channels import Channel
from notifiers.chat import Desk, Endpoint, Incoming, NotFromThere

_log = structlog.get_logger("jitgate.chat")


def routes(channels: tuple[Channel, ...], desk: Desk, posts: ChatPosts) -> tuple[Route, ...]:
    """`/chat/<channel><path>`: what the operator enters at the service."""
    return tuple(
        Route(
            "POST",
            f"/chat/{channel.plan.name}{endpoint.path}",
            _answer(endpoint, desk),
            _Proven(channel.plan.name, endpoint, posts),
            endpoint.max_body_bytes,
            _refused,
        )
        for channel in channels
        for endpoint in channel.endpoints
    )


class _Proven:
    """The service itself, by its signature or token."""

    def __init__(self, channel: str, endpoint: Endpoint, posts: ChatPosts) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._posts = posts

    async def prove(self, request: Request, body: bytes) -> str:
        """Raises Refused NOT_FROM_THERE."""
        try:
            proof = await self._endpoint.prove(_incoming(request, body))
        except NotFromThere as why:
            raise self._refused(str(why)) from None
        if not await self._posts.is_first(self._channel, proof):
            raise self._refused("the same was sent before")
        return self._channel

    def _refused(self, why: str) -> Refused:
        _log.warning("chat.not_proven", channel=self._channel, why=why)
        return Refused(
            Kind.UNAUTHENTICATED,
            "NOT_FROM_THERE",
            f"this was not sent by the service of {self._channel}",
            "Check the secret or the application's id in the settings of the channel.",
        )


def _answer(endpoint: Endpoint, desk: Desk) -> Answer:
    async def answer(asked: Asked) -> Response:
        outgoing = await endpoint.answer(_incoming(asked.request, asked.body), desk)
        return Response(outgoing.body, outgoing.status, media_type=outgoing.content_type)

    return answer


def _incoming(request: Request, body: bytes) -> Incoming:
    return Incoming({name.lower(): value for name, value in request.headers.items()}, body)


def _refused(refused: Refused) -> Response:
    return JSONResponse({"error": refused.reason, "message": refused.message}, status_of(refused))

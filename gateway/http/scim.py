"""SCIM 2.0 over HTTP: the library answers, from the people and groups of the provider that asks (R31)."""

from dataclasses import dataclass
from functools import partial

from scim2_models import Error, SCIMException
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import SCIM_MEDIA_TYPE, ScimResponse
from scim2_server.service import ScimService
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.errors import Refused
from gateway.http.pages import status_of
from gateway.http.routes import Asked, Route
from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.ports import AccessEnder, Clock
from gateway.identity.scim.feed import Feed
from gateway.identity.scim.resources import PROVIDER
from gateway.identity.scim.storage import Storage
from gateway.identity.scim.tokens import ScimTokens
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.scim_tokens import ScimToken

ROOT = "/scim/v2"
_MAX_BODY_BYTES = 1 << 20
_PROVEN = "jitgate.scim"


@dataclass(frozen=True, slots=True)
class _Proven:
    token: ScimToken
    settings: IdentityProvider


class ScimRoutes:
    """Every route needs a provider's token."""

    def __init__(
        self, database: Database, tokens: ScimTokens, ender: AccessEnder, changes: Changes, *, clock: Clock
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._ender = ender
        self._changes = changes
        self._clock = clock
        self._service = ScimService(PROVIDER)

    def routes(self, public_url: str) -> tuple[Route, ...]:
        """`public_url` is where providers find the listener."""
        answer = partial(self._answer, f"{public_url}{ROOT}")
        return tuple(
            Route(method, f"{ROOT}/{{path:path}}", answer, self, _MAX_BODY_BYTES, refused)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        )

    async def prove(self, request: Request, body: bytes) -> str:
        """By the bearer token (`routes.Proof`). Raises Refused SCIM_TOKEN_REFUSED."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        proven = _Proven(*await self._tokens.proven(secret.strip() if scheme.lower() == "bearer" else ""))
        request.scope[_PROVEN] = proven
        return proven.token.id

    async def _answer(self, base_url: str, asked: Asked) -> Response:
        request, proven = asked.request, asked.request.scope[_PROVEN]
        feed = Feed(
            proven.token.provider,
            proven.settings,
            asked.source_address,
            self._clock(),
            self._ender,
            self._changes,
        )

        async def still(connection: AsyncConnection) -> None:
            await self._tokens.still(connection, proven.token)

        storage = Storage(self._database, feed, still, reads=request.method == "GET")
        sent = ScimRequest(
            request.method,
            base_url,
            f"/{request.path_params['path']}",
            dict(request.query_params),
            request.headers.items(),
            asked.body,
        )
        try:
            return _response(await AsyncScimHandler(self._service, storage).handle(sent))
        except SCIMException as failure:
            return _response(self._service.error_response(failure))


def refused(why: Refused) -> Response:
    """In SCIM's form."""
    status = status_of(why)
    response = JSONResponse(
        Error(status=status, detail=f"{why.message}. {why.what_to_do}").model_dump(),
        status,
        media_type=SCIM_MEDIA_TYPE,
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="SCIM"'
    if why.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(why.retry_after.total_seconds())))
    return response


def _response(answer: ScimResponse) -> Response:
    if answer.body is None:
        headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
        return Response(status_code=answer.status, headers=headers)
    return JSONResponse(answer.body, answer.status, answer.headers, SCIM_MEDIA_TYPE)

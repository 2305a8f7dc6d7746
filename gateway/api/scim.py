"""ScimService: tokens that identity providers keep the directory fresh with (R31)."""

# ruff: noqa: N802  # methods are named by the contract

from datetime import timedelta

from gateway.api import values
from gateway.api.current import caller
from gateway.identity.scim.tokens import DEFAULT_LIFETIME, ScimTokens
from gateway.store.scim_tokens import ScimToken
from jitgate.v1 import scim_pb2, scim_pb2_grpc


class ScimService(scim_pb2_grpc.ScimServiceServicer):
    def __init__(self, tokens: ScimTokens) -> None:
        self._tokens = tokens

    async def CreateScimToken(
        self, request: scim_pb2.CreateScimTokenRequest, context: object
    ) -> scim_pb2.CreateScimTokenResponse:
        lifetime = timedelta(days=request.days) if request.days else DEFAULT_LIFETIME
        token, secret = await self._tokens.create(caller(), request.provider, lifetime)
        return scim_pb2.CreateScimTokenResponse(scim_token=_message(token), token=secret)

    async def ListScimTokens(
        self, request: scim_pb2.ListScimTokensRequest, context: object
    ) -> scim_pb2.ListScimTokensResponse:
        found = await self._tokens.list(caller())
        return scim_pb2.ListScimTokensResponse(scim_tokens=map(_message, found))

    async def DeleteScimToken(
        self, request: scim_pb2.DeleteScimTokenRequest, context: object
    ) -> scim_pb2.DeleteScimTokenResponse:
        await self._tokens.delete(caller(), request.id)
        return scim_pb2.DeleteScimTokenResponse()


def _message(token: ScimToken) -> scim_pb2.ScimToken:
    return scim_pb2.ScimToken(
        id=token.id,
        provider=token.provider,
        issuer=token.issuer,
        created_at=values.timestamp(token.created_at),
        created_by=token.created_by,
        expires_at=values.timestamp(token.expires_at),
        last_used_at=values.timestamp(token.last_used_at),
    )

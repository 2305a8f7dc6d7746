"""SignInService: proofs in, certificates out."""

# ruff: noqa: N802  # methods are named by the contract

from datetime import timedelta
from typing import Any, TypeAlias

import grpc

from gateway.api.identity_messages import identity
from gateway.api.peer import source_address
from gateway.api.values import timestamp
from gateway.errors import invalid
from gateway.identity.oidc.sign_in import OidcSignIn
from gateway.identity.sign_in import CodeProof, PasswordProof, SignIn
from gateway.identity.signed_in import SignedIn
from jitgate.v1 import identity_pb2, identity_pb2_grpc

# Generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SignInService(identity_pb2_grpc.SignInServiceServicer):
    """`gateway_address` is the host:port that clients are to use once they have a certificate."""

    def __init__(self, sign_in: SignIn, oidc: OidcSignIn, gateway_address: str) -> None:
        self._sign_in = sign_in
        self._oidc = oidc
        self._gateway_address = gateway_address

    async def SignIn(
        self, request: identity_pb2.SignInRequest, context: "_Context"
    ) -> identity_pb2.SignInResponse:
        source = source_address(context.peer())
        match request.WhichOneof("proof"):
            case "password":
                given = request.password
                proof = PasswordProof(given.user_id, given.password, given.new_password)
                signed_in = await self._sign_in.with_password(proof, request.certificate_request, source)
            case "administrator_code":
                code = request.administrator_code
                signed_in = await self._sign_in.with_administrator_code(
                    CodeProof(code.code, code.user_id, code.new_password), request.certificate_request, source
                )
            case _:
                raise invalid("proof", "give a password or an administrator code")
        return self._message(signed_in)

    async def ListIdentityProviders(
        self, request: identity_pb2.ListIdentityProvidersRequest, context: "_Context"
    ) -> identity_pb2.ListIdentityProvidersResponse:
        return identity_pb2.ListIdentityProvidersResponse(
            providers=[
                identity_pb2.IdentityProvider(
                    name=provider.name,
                    title=provider.title,
                    browser="browser" in provider.settings.flows,
                    device="device" in provider.settings.flows,
                    loopback_ports=provider.settings.loopback_ports,
                )
                for provider in self._oidc.providers.values()
            ]
        )

    async def BeginBrowserSignIn(
        self, request: identity_pb2.BeginBrowserSignInRequest, context: "_Context"
    ) -> identity_pb2.BeginBrowserSignInResponse:
        begun = await self._oidc.begin_browser(
            request.provider,
            request.certificate_request,
            request.loopback_port,
            source_address(context.peer()),
        )
        return identity_pb2.BeginBrowserSignInResponse(
            handle=begun.handle,
            authorization_url=begun.authorization_url,
            expires_at=timestamp(begun.expires_at),
        )

    async def CompleteBrowserSignIn(
        self, request: identity_pb2.CompleteBrowserSignInRequest, context: "_Context"
    ) -> identity_pb2.SignInResponse:
        signed_in = await self._oidc.complete_browser(
            request.handle, request.code, request.state, request.iss, source_address(context.peer())
        )
        return self._message(signed_in)

    async def BeginDeviceSignIn(
        self, request: identity_pb2.BeginDeviceSignInRequest, context: "_Context"
    ) -> identity_pb2.BeginDeviceSignInResponse:
        begun = await self._oidc.begin_device(
            request.provider, request.certificate_request, source_address(context.peer())
        )
        return identity_pb2.BeginDeviceSignInResponse(
            handle=begun.handle,
            user_code=begun.user_code,
            verification_uri=begun.verification_uri,
            verification_uri_complete=begun.verification_uri_complete,
            expires_at=timestamp(begun.expires_at),
            interval_seconds=_seconds(begun.interval),
        )

    async def CompleteDeviceSignIn(
        self, request: identity_pb2.CompleteDeviceSignInRequest, context: "_Context"
    ) -> identity_pb2.CompleteDeviceSignInResponse:
        outcome = await self._oidc.complete_device(request.handle, source_address(context.peer()))
        if isinstance(outcome, timedelta):
            return identity_pb2.CompleteDeviceSignInResponse(retry_after_seconds=_seconds(outcome))
        return identity_pb2.CompleteDeviceSignInResponse(signed_in=self._message(outcome))

    def _message(self, signed_in: SignedIn) -> identity_pb2.SignInResponse:
        return identity_pb2.SignInResponse(
            certificate_chain=signed_in.certificate.chain,
            expires_at=timestamp(signed_in.certificate.expires_at),
            identity=identity(signed_in.user, signed_in.grants),
            gateway_address=self._gateway_address,
            sign_out_url=signed_in.sign_out_url,
        )


def _seconds(span: timedelta) -> int:
    """Rounded up: who asks a moment too early has asked in vain."""
    return -(-span // timedelta(seconds=1))

"""SignInService: proofs in, certificates out."""

# ruff: noqa: N802  # methods are named by the contract

from typing import Any

import grpc

from gateway.api.identity_messages import identity
from gateway.api.peer import source_address
from gateway.api.values import timestamp
from gateway.errors import invalid
from gateway.identity.sign_in import CodeProof, PasswordProof, SignIn
from jitgate.v1 import identity_pb2, identity_pb2_grpc


class SignInService(identity_pb2_grpc.SignInServiceServicer):
    """`gateway_address` is the host:port that clients are to use once they have a certificate."""

    def __init__(self, sign_in: SignIn, gateway_address: str) -> None:
        self._sign_in = sign_in
        self._gateway_address = gateway_address

    async def SignIn(
        self, request: identity_pb2.SignInRequest, context: "grpc.aio.ServicerContext[Any, Any]"
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
        return identity_pb2.SignInResponse(
            certificate_chain=signed_in.certificate.chain,
            expires_at=timestamp(signed_in.certificate.expires_at),
            identity=identity(signed_in.user, signed_in.grants),
            gateway_address=self._gateway_address,
        )

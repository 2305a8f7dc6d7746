"""IdentityService: what the gateway knows of the caller."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.api.current import caller
from gateway.api.identity_messages import identity
from gateway.api.values import timestamp
from gateway.version import VERSION
from jitgate.v1 import identity_pb2, identity_pb2_grpc


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    async def WhoAmI(self, request: identity_pb2.WhoAmIRequest, context: object) -> identity_pb2.WhoAmIResponse:
        who = caller()
        return identity_pb2.WhoAmIResponse(
            identity=identity(who.user, who.grants),
            certificate_expires_at=timestamp(who.certificate_expires_at),
            gateway_version=VERSION,
        )

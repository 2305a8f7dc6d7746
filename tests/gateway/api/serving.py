"""The services as clients meet them: a real server behind the real guard, on loopback."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.api.access import AccessService
from gateway.api.approval import ApprovalService
from gateway.api.interceptor import Guard
from gateway.api.permissions import required_permissions
from gateway.api.policy import PolicyService
from gateway.identity.caller import Caller
from jitgate.v1 import access_pb2, access_pb2_grpc, approval_pb2, approval_pb2_grpc, policy_pb2, policy_pb2_grpc
from tests.gateway.access.world import World


class Served:
    """`acting` is whom the next calls come from: certificates are authentication's matter and tested there."""

    def __init__(self, world: World, channel: grpc.aio.Channel) -> None:
        self.world = world
        self.acting = "alice"
        self.access = access_pb2_grpc.AccessServiceStub(channel)
        self.approval = approval_pb2_grpc.ApprovalServiceStub(channel)
        self.policy = policy_pb2_grpc.PolicyServiceStub(channel)


@contextlib.asynccontextmanager
async def serving(world: World) -> AsyncIterator[Served]:
    served: Served

    async def authenticate(_certificate: bytes, _address: str) -> Caller:
        return await world.caller(served.acting)

    descriptors = [
        access_pb2.DESCRIPTOR.services_by_name["AccessService"],
        approval_pb2.DESCRIPTOR.services_by_name["ApprovalService"],
        policy_pb2.DESCRIPTOR.services_by_name["PolicyService"],
    ]
    server = grpc.aio.server(interceptors=(Guard(required_permissions(descriptors), authenticate),))
    access_pb2_grpc.add_AccessServiceServicer_to_server(
        AccessService(world.requests, world.reader, world.tokens), server
    )
    approval_pb2_grpc.add_ApprovalServiceServicer_to_server(ApprovalService(world.requests), server)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyService(world.policies, world.policy_reader), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = Served(world, channel)
        yield served
    await server.stop(None)


@contextlib.asynccontextmanager
async def answered(code: grpc.StatusCode, reason: str, *details: Message) -> AsyncIterator[None]:
    """The call ends with that status, its ErrorInfo names the reason, and `details` are filled from the rest."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    status = status_of(caught.value)
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (caught.value.code(), info.reason, info.domain) == (code, reason, "jitgate"), caught.value.details()
    assert info.metadata["what_to_do"]
    for detail in details:
        assert any(packed.Unpack(detail) for packed in status.details)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    trailers: Any = dict(error.trailing_metadata())
    return Status.FromString(trailers["grpc-status-details-bin"])

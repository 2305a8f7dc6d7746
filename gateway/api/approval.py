"""ApprovalService: deciding on requests."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.access.requests import AccessRequests
from gateway.api.access_messages import message
from gateway.api.current import caller
from jitgate.v1 import approval_pb2, approval_pb2_grpc


class ApprovalService(approval_pb2_grpc.ApprovalServiceServicer):
    def __init__(self, requests: AccessRequests) -> None:
        self._requests = requests

    async def Approve(self, request: approval_pb2.ApproveRequest, context: object) -> approval_pb2.ApproveResponse:
        decided = await self._requests.approve(caller(), request.access_request_id, request.comment)
        return approval_pb2.ApproveResponse(request=message(decided))

    async def Deny(self, request: approval_pb2.DenyRequest, context: object) -> approval_pb2.DenyResponse:
        decided = await self._requests.deny(caller(), request.access_request_id, request.comment)
        return approval_pb2.DenyResponse(request=message(decided))

    async def Revoke(self, request: approval_pb2.RevokeRequest, context: object) -> approval_pb2.RevokeResponse:
        revoked = await self._requests.revoke(caller(), request.access_request_id, request.comment)
        return approval_pb2.RevokeResponse(request=message(revoked))

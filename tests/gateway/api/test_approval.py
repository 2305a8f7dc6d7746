import grpc
import pytest

from jitgate.v1 import access_pb2, approval_pb2
from jitgate.v1.access_pb2 import (
    ACCESS_REQUEST_STATUS_APPROVED,
    ACCESS_REQUEST_STATUS_PENDING,
    ACCESS_REQUEST_STATUS_REJECTED,
    ACCESS_REQUEST_STATUS_REVOKED,
)
from tests.gateway.api.serving import Served, answered

FAILED_PRECONDITION, DENIED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED


async def pending(served: Served) -> str:
    return (await served.world.ask("alice", "db-1")).life.id


async def approve(served: Served, who: str, request_id: str, comment: str = "") -> access_pb2.AccessRequest:
    served.acting = who
    message = approval_pb2.ApproveRequest(access_request_id=request_id, comment=comment)
    return (await served.approval.Approve(message)).request


async def revoke(served: Served, who: str, request_id: str) -> access_pb2.AccessRequest:
    served.acting = who
    return (await served.approval.Revoke(approval_pb2.RevokeRequest(access_request_id=request_id))).request


@pytest.mark.rule("R16")
async def test_level_by_level(served: Served) -> None:
    request_id = await pending(served)
    first = await approve(served, "sam", request_id, "go ahead")
    assert (first.status, first.current_level) == (ACCESS_REQUEST_STATUS_PENDING, 1)
    assert [level.complete for level in first.levels] == [True, False]
    decision = first.levels[0].decisions[0]
    assert (decision.actor_id, decision.verdict, decision.comment) == ("sam", "approved", "go ahead")
    last = await approve(served, "olga", request_id)
    assert last.status == ACCESS_REQUEST_STATUS_APPROVED
    assert last.status_reason == "Approved by all levels."


@pytest.mark.rule("R18")
async def test_deny(served: Served) -> None:
    request_id = await pending(served)
    served.acting = "sue"
    message = approval_pb2.DenyRequest(access_request_id=request_id, comment="not today")
    denied = (await served.approval.Deny(message)).request
    assert denied.status == ACCESS_REQUEST_STATUS_REJECTED
    assert denied.status_reason == "An approver denied it: not today"
    decision = denied.levels[0].decisions[0]
    assert (decision.actor_id, decision.verdict, decision.comment) == ("sue", "denied", "not today")


@pytest.mark.rule("R19")
async def test_revoke_while_pending_and_after(served: Served) -> None:
    request_id = await pending(served)
    await approve(served, "sam", request_id)
    back = await revoke(served, "sam", request_id)
    assert (back.status, back.current_level) == (ACCESS_REQUEST_STATUS_PENDING, 0)
    assert [(d.actor_id, d.verdict) for d in back.levels[0].decisions] == [("sam", "withdrawn")]
    await approve(served, "sue", request_id)
    await approve(served, "olga", request_id)
    ended = await revoke(served, "olga", request_id)
    assert ended.status == ACCESS_REQUEST_STATUS_REVOKED


@pytest.mark.rule("R32")
async def test_refusals_have_their_codes(served: Served) -> None:
    request_id = await pending(served)
    before = await served.world.rows()
    async with answered(DENIED, "NOT_PERMITTED"):  # no approver anywhere
        await approve(served, "alice", request_id)
    async with answered(DENIED, "NOT_ELIGIBLE"):
        await approve(served, "olga", request_id)
    async with answered(FAILED_PRECONDITION, "NOTHING_TO_WITHDRAW"):
        await revoke(served, "sam", request_id)
    async with answered(grpc.StatusCode.NOT_FOUND, "REQUEST_NOT_FOUND"):
        await revoke(served, "mallory", request_id)
    async with answered(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_COMMENT"):
        await approve(served, "sam", request_id, "x" * 257)
    async with answered(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await approve(served, "sam", request_id, "x" * 1025)
    async with answered(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await approve(served, "sam", "not-an-id")
    assert await served.world.rows() == before
    await approve(served, "sam", request_id)
    async with answered(DENIED, "NOT_ELIGIBLE"):
        await approve(served, "sam", request_id)

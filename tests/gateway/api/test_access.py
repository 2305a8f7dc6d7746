import asyncio
from datetime import timedelta

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from jitgate.v1 import access_pb2, identity_pb2
from jitgate.v1.access_pb2 import (
    ACCESS_REQUEST_STATUS_APPROVED,
    ACCESS_REQUEST_STATUS_CANCELLED,
    ACCESS_REQUEST_STATUS_FAILED,
    ACCESS_REQUEST_STATUS_PENDING,
    ACCESS_REQUEST_STATUS_REJECTED,
    ACCESS_REQUEST_STATUS_RETURNED,
)
from jitgate.v1.common_pb2 import PageRequest, Scope
from policy.model import PolicyKind
from tests.gateway.access.world import DATABASE_NODE, START, WEB, manual
from tests.gateway.api.serving import Served, answered

INVALID, DENIED, MISSING = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
)


async def start(served: Served, node: str = "db-1", **more: object) -> access_pb2.AccessRequest:
    wanted = access_pb2.StartAccessRequestRequest(nodes=[node], reason="fix the disk", **more)  # type: ignore[arg-type]
    return (await served.access.StartAccessRequest(wanted)).request


@pytest.mark.rule("R7")
async def test_approved_at_once(served: Served) -> None:
    request = await start(served, "web-1")
    assert request.status == ACCESS_REQUEST_STATUS_APPROVED
    assert request.status_reason == "Approved at once."
    assert (request.node_id, request.node_name, request.requester_id) == (WEB, "web-1", "alice")
    assert request.policy.kind == identity_pb2.POLICY_KIND_AUTO
    assert (request.policy.name, request.policy.version) == ("auto-approval", 1)
    assert request.window_end.ToDatetime() == (START + timedelta(hours=1)).replace(tzinfo=None)
    assert request.access_seconds == 3600
    assert MessageToDict(request.explanation)["outcome"]["kind"] == "auto_approved"
    assert request.levels == []
    assert [event.type for event in request.events] == ["access_request.approved"]
    assert request.scope == Scope(account="default", region="default")


@pytest.mark.rule("R15")
async def test_pending_shows_levels_and_deadline(served: Served) -> None:
    request = await start(served, hours=3)
    assert request.status == ACCESS_REQUEST_STATUS_PENDING
    assert request.status_reason == ""
    assert request.pending_until.ToDatetime() == (START + timedelta(days=7)).replace(tzinfo=None)
    assert not request.HasField("window_end")
    assert request.access_seconds == 3 * 3600
    assert [[(a.type, a.id) for a in level.approvers] for level in request.levels] == [
        [("group", "sre")],
        [("user", "olga"), ("user", "pete")],
    ]
    assert [level.approvals_needed for level in request.levels] == [1, 1]


@pytest.mark.rule("R9")
async def test_a_failed_request_is_an_answer_and_shows_the_conflict(served: Served) -> None:
    await served.world.put(PolicyKind.MANUAL, manual("northern", targets="[{tag: Site}]"))
    request = await start(served, "both-1")
    assert request.status == ACCESS_REQUEST_STATUS_FAILED
    assert {(policy.name, *policy.tags) for policy in request.conflict} == {
        ("databases", "Workload=db"),
        ("northern", "Site=north"),
    }
    assert not request.HasField("policy")
    assert request.status_reason.startswith("Approval policies are in conflict")
    seen = await served.access.GetAccessRequest(access_pb2.GetAccessRequestRequest(id=request.id))
    assert seen.request == request


@pytest.mark.rule("R21")
async def test_a_window_that_waits_for_its_first_session(served: Served) -> None:
    await served.world.put(PolicyKind.MANUAL, manual(more="windowStarts: firstSession\n"))
    request = await served.world.approved()
    seen = (await served.access.GetAccessRequest(access_pb2.GetAccessRequestRequest(id=request.life.id))).request
    assert not seen.HasField("window_end")
    assert seen.first_session_until.ToDatetime() == (START + timedelta(hours=24)).replace(tzinfo=None)


@pytest.mark.rule("R23")
async def test_bad_input(served: Served) -> None:
    call = served.access.StartAccessRequest
    wrong = [
        {"nodes": [], "reason": "x"},
        {"nodes": ["web-1", "db-1"], "reason": "x"},
        {"nodes": [""], "reason": "x"},
        {"nodes": ["n" * 129], "reason": "x"},
        {"nodes": ["web-1"], "reason": ""},
        {"nodes": ["web-1"], "reason": "x" * 257},
        {"nodes": ["web-1"], "reason": "x", "hours": 337},
        {"nodes": ["web-1"], "reason": "x", "hours": -1},
        {"nodes": ["web-1"], "reason": "x", "idempotency_key": "short"},
        {"nodes": ["web-1"], "reason": "x", "scope": Scope(account="*")},
    ]
    before = await served.world.rows()
    for fields in wrong:
        async with answered(INVALID, "INVALID_FIELD"):
            await call(access_pb2.StartAccessRequestRequest(**fields))  # type: ignore[arg-type]
    async with answered(INVALID, "INVALID_REASON"):
        await call(access_pb2.StartAccessRequestRequest(nodes=["web-1"], reason="a\nb"))
    async with answered(MISSING, "NODE_NOT_FOUND"):
        await call(access_pb2.StartAccessRequestRequest(nodes=["nowhere"], reason="x"))
    async with answered(DENIED, "NOT_PERMITTED"):
        foreign = Scope(account="other")
        await call(access_pb2.StartAccessRequestRequest(nodes=["far-1"], reason="x", scope=foreign))
    served.acting = "mallory"
    async with answered(DENIED, "NOT_PERMITTED"):
        await start(served, "web-1")
    assert await served.world.rows() == before


async def test_reading_what_is_not_there_for_one(served: Served) -> None:
    request = await start(served)
    served.acting = "bob"
    for request_id in (request.id, "oi-0123456789ab"):
        async with answered(MISSING, "REQUEST_NOT_FOUND"):
            await served.access.GetAccessRequest(access_pb2.GetAccessRequestRequest(id=request_id))
        async with answered(MISSING, "REQUEST_NOT_FOUND"):
            watching = served.access.WatchAccessRequest(access_pb2.WatchAccessRequestRequest(id=request_id))
            await watching.read()
    async with answered(INVALID, "INVALID_FIELD"):
        await served.access.GetAccessRequest(access_pb2.GetAccessRequestRequest(id="oi-0123456789AB"))


async def test_lists(served: Served) -> None:
    web, db = await start(served, "web-1"), await start(served)
    call, message = served.access.ListAccessRequests, access_pb2.ListAccessRequestsRequest

    async def ids(**fields: object) -> set[str]:
        return {item.id for item in (await call(message(**fields))).requests}  # type: ignore[arg-type]

    assert await ids() == await ids(mine=True) == await ids(requester_id="alice") == {web.id, db.id}
    assert await ids(statuses=[ACCESS_REQUEST_STATUS_PENDING]) == {db.id}
    assert await ids(node=DATABASE_NODE) == await ids(node="db-1") == {db.id}
    assert await ids(scope=Scope(account="other")) == set()
    assert await ids(for_me=True) == set()
    served.acting = "sam"
    assert await ids(for_me=True) == {db.id}
    assert await ids(mine=True) == set()
    async with answered(INVALID, "INVALID_FIELD"):
        await ids(mine=True, requester_id="alice")
    async with answered(INVALID, "INVALID_FIELD"):
        await ids(mine=True, for_me=True)
    async with answered(INVALID, "INVALID_FIELD"):
        await ids(statuses=[0])
    async with answered(INVALID, "INVALID_FIELD"):
        await ids(statuses=[99])


async def test_pages(served: Served) -> None:
    made = {(await start(served)).id for _ in range(5)}
    call, message = served.access.ListAccessRequests, access_pb2.ListAccessRequestsRequest
    seen: list[access_pb2.AccessRequest] = []
    token = ""
    for _ in range(3):
        answer = await call(message(page=PageRequest(size=2, token=token)))
        seen += answer.requests
        token = answer.next_page_token
    assert token == ""
    assert {item.id for item in seen} == made
    assert len(seen) == 5
    assert all(not item.events and not item.HasField("explanation") for item in seen)
    for wrong in ("x", "WzFd", "WyJhIiwgMV0=", "WzEsMiwzXQ==", "WzllOTk5LCAieCJd", "e30="):
        async with answered(INVALID, "INVALID_FIELD"):
            await call(message(page=PageRequest(token=wrong)))


async def test_watching(served: Served) -> None:
    request = await start(served)
    statuses = []
    async with asyncio.timeout(30):
        watching = served.access.WatchAccessRequest(access_pb2.WatchAccessRequestRequest(id=request.id))
        async for answer in watching:
            statuses.append((answer.request.status, answer.request.revision))
            if len(statuses) == 1:
                sam = await served.world.caller("sam")
                await served.world.requests.approve(sam, request.id)
            elif len(statuses) == 2:
                olga = await served.world.caller("olga")
                await served.world.requests.deny(olga, request.id, "no")
    assert statuses == [
        (ACCESS_REQUEST_STATUS_PENDING, 1),
        (ACCESS_REQUEST_STATUS_PENDING, 2),
        (ACCESS_REQUEST_STATUS_REJECTED, 3),
    ]


async def test_a_watcher_who_goes_away_leaves_nothing_behind(served: Served) -> None:
    request = await start(served)
    watching = served.access.WatchAccessRequest(access_pb2.WatchAccessRequestRequest(id=request.id))
    async with asyncio.timeout(30):
        await watching.read()
        assert request.id in served.world.changes._waiting
        watching.cancel()
        while request.id in served.world.changes._waiting:
            await asyncio.sleep(0.01)


@pytest.mark.rule("R20")
async def test_cancel_and_return(served: Served) -> None:
    pending = await start(served)
    answer = await served.access.CancelAccessRequest(access_pb2.CancelAccessRequestRequest(id=pending.id))
    assert answer.request.status == ACCESS_REQUEST_STATUS_CANCELLED
    async with answered(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATUS"):
        await served.access.CancelAccessRequest(access_pb2.CancelAccessRequestRequest(id=pending.id))
    opened = await start(served, "web-1")
    back = await served.access.ReturnAccess(access_pb2.ReturnAccessRequest(id=opened.id))
    assert back.request.status == ACCESS_REQUEST_STATUS_RETURNED
    assert back.request.status_reason == "The requester gave it back."


@pytest.mark.rule("R24")
async def test_tokens(served: Served) -> None:
    pending, opened = await start(served), await start(served, "web-1")
    call, message = served.access.GetAccessToken, access_pb2.GetAccessTokenRequest
    none = await call(message(access_request_id=pending.id))
    assert not none.HasField("token")
    assert none.status == ACCESS_REQUEST_STATUS_PENDING
    given = await call(message(access_request_id=opened.id))
    assert given.status == ACCESS_REQUEST_STATUS_APPROVED
    assert given.token.node_id == WEB
    assert given.token.value.startswith("jgt_")
    assert len(given.token.value) <= 300
    assert given.token.expires_at.ToDatetime() == (START + timedelta(hours=1)).replace(tzinfo=None)
    served.acting = "bob"
    async with answered(MISSING, "REQUEST_NOT_FOUND"):
        await call(message(access_request_id=opened.id))

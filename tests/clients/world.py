"""The world behind the stand-in: nodes, the life of a request in miniature, sessions with real processes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from jitgate.v1 import access_pb2 as access
from jitgate.v1 import approval_pb2 as approval
from jitgate.v1 import identity_pb2 as identity
from jitgate.v1 import node_pb2 as node
from jitgate.v1 import session_pb2 as session
from tests.clients import certificates
from tests.clients.refusal import Refusal
from tests.clients.sessions import Session

NODES = {"web-1": "mi-00000000000000001", "db-1": "mi-00000000000000002", "lonely": "mi-00000000000000003"}
FINAL = (3, 4, 5, 6, 7, 8, 9)


def timestamp(moment: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(moment)
    return result


class World:
    """web-1 is approved at once, db-1 asks bob, lonely has no policy."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Callable[..., Any]] = {}
        self.requests: dict[str, access.AccessRequest] = {}
        self.tokens: dict[str, str] = {}  # token -> access request
        self.sessions: list[Session] = []
        self.rows: dict[str, session.Session] = {}
        self.grace_seconds = 0  # with more, sessions outlive their calls
        self.gateway_address = ""
        self._numbers = itertools.count()
        self.client_ca: certificates.Issued | None = None
        self._watchers: set[asyncio.Event] = set()

    def asked(self, name: str) -> list[Any]:
        """The requests that came for a method."""
        return [request for method, _, request in self.calls if method == name]

    def changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def SignIn(self, caller: str, request: identity.SignInRequest) -> identity.SignInResponse:  # noqa: N802 - the contract's names
        proof = request.password if request.HasField("password") else request.administrator_code
        given = request.password.password or request.administrator_code.code
        if given != "correct horse":
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_FAILED", "sign-in failed", "Try again.")
        csr = x509.load_der_x509_csr(request.certificate_request)
        key = csr.public_key()
        assert csr.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert self.client_ca
        return identity.SignInResponse(
            certificate_chain=(
                certificates.client(self.client_ca, proof.user_id, key) + self.client_ca.pem
            ).decode(),
            expires_at=timestamp(datetime.now(UTC) + timedelta(hours=12)),
            identity=self._identity(proof.user_id),
            gateway_address=self.gateway_address,
        )

    def WhoAmI(self, caller: str, request: Message) -> identity.WhoAmIResponse:  # noqa: N802
        return identity.WhoAmIResponse(
            identity=self._identity(caller),
            certificate_expires_at=timestamp(datetime.now(UTC) + timedelta(hours=12)),
            gateway_version="0.1.0",
        )

    def _identity(self, user_id: str) -> identity.Identity:
        grant = identity.RoleGrant(user_id=user_id, role=identity.ROLE_USER)
        return identity.Identity(
            user_id=user_id,
            display_name=user_id.title(),
            issuer="local",
            subject=user_id,
            groups=["sre"],
            roles=[grant],
        )

    def StartAccessRequest(  # noqa: N802
        self, caller: str, request: access.StartAccessRequestRequest
    ) -> access.StartAccessRequestResponse:
        name = request.nodes[0]
        if name not in NODES:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, "NO_SUCH_NODE", f"there is no node {name}", "See jit nodes list."
            )
        made = access.AccessRequest(
            id=f"oi-{len(self.requests):012x}",
            requester_id=caller,
            node_id=NODES[name],
            node_name=name,
            reason=request.reason,
            created_at=timestamp(datetime.now(UTC)),
            access_seconds=3600 * (request.hours or 1),
            revision=1,
        )
        made.scope.account = made.scope.region = "default"
        self.requests[made.id] = made
        if name == "web-1":
            made.policy.kind, made.policy.name = identity.POLICY_KIND_AUTO, "auto-approval"
            self.approve(made.id)
        elif name == "db-1":
            made.status = access.ACCESS_REQUEST_STATUS_PENDING
            made.pending_until.CopyFrom(timestamp(datetime.now(UTC) + timedelta(days=7)))
            made.policy.kind, made.policy.name, made.policy.version = identity.POLICY_KIND_MANUAL, "databases", 3
            level = made.levels.add(approvals_needed=1)
            level.approvers.add(type="user", id="bob")
            level.approvers.add(type="group", id="sre")
        else:
            made.status = access.ACCESS_REQUEST_STATUS_FAILED
            made.status_reason = "no policy applies to this node"
        return access.StartAccessRequestResponse(request=made)

    def approve(self, request_id: str, actor: str = "bob") -> None:
        made, now = self.requests[request_id], datetime.now(UTC)
        made.status = access.ACCESS_REQUEST_STATUS_APPROVED
        made.window_start.CopyFrom(timestamp(now))
        made.window_end.CopyFrom(timestamp(now + timedelta(seconds=made.access_seconds)))
        for level in made.levels:
            level.complete = True
            level.decisions.add(actor_id=actor, verdict="approved", at=timestamp(now))
        made.revision += 1

    def GetAccessRequest(self, caller: str, request: Any) -> access.GetAccessRequestResponse:  # noqa: N802
        return access.GetAccessRequestResponse(request=self._request(request.id))

    def _request(self, request_id: str) -> access.AccessRequest:
        if request_id not in self.requests:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "NO_SUCH_REQUEST", f"there is no access request {request_id}")
        return self.requests[request_id]

    def ListAccessRequests(  # noqa: N802
        self, caller: str, request: access.ListAccessRequestsRequest
    ) -> access.ListAccessRequestsResponse:
        found = [
            made
            for made in reversed(self.requests.values())
            if (not request.statuses or made.status in request.statuses)
            and (not request.node or request.node in (made.node_id, made.node_name))
            and (not request.mine or made.requester_id == caller)
        ]
        return access.ListAccessRequestsResponse(requests=found)

    async def WatchAccessRequest(  # noqa: N802
        self, caller: str, request: Any, context: Any
    ) -> AsyncIterator[access.WatchAccessRequestResponse]:
        wake = asyncio.Event()
        self._watchers.add(wake)
        try:
            while True:
                wake.clear()  # first: it may change while it is being sent
                made = self._request(request.id)
                is_over = made.status in FINAL
                yield access.WatchAccessRequestResponse(request=made)
                if is_over:
                    return
                await wake.wait()
        finally:
            self._watchers.discard(wake)

    def CancelAccessRequest(self, caller: str, request: Any) -> access.CancelAccessRequestResponse:  # noqa: N802
        return access.CancelAccessRequestResponse(
            request=self._end(request.id, access.ACCESS_REQUEST_STATUS_CANCELLED, "cancelled by its requester")
        )

    def ReturnAccess(self, caller: str, request: Any) -> access.ReturnAccessResponse:  # noqa: N802
        return access.ReturnAccessResponse(
            request=self._end(request.id, access.ACCESS_REQUEST_STATUS_RETURNED, "given back")
        )

    def Approve(self, caller: str, request: approval.ApproveRequest) -> approval.ApproveResponse:  # noqa: N802
        self._request(request.access_request_id)
        self.approve(request.access_request_id, caller)
        self.changed()
        return approval.ApproveResponse(request=self.requests[request.access_request_id])

    def Deny(self, caller: str, request: approval.DenyRequest) -> approval.DenyResponse:  # noqa: N802
        status = access.ACCESS_REQUEST_STATUS_REJECTED
        return approval.DenyResponse(request=self._end(request.access_request_id, status, f"denied by {caller}"))

    def Revoke(self, caller: str, request: approval.RevokeRequest) -> approval.RevokeResponse:  # noqa: N802
        status = access.ACCESS_REQUEST_STATUS_REVOKED
        self.tokens = {token: owner for token, owner in self.tokens.items() if owner != request.access_request_id}
        return approval.RevokeResponse(
            request=self._end(request.access_request_id, status, f"revoked by {caller}")
        )

    def _end(self, request_id: str, status: Any, why: str) -> access.AccessRequest:
        made = self._request(request_id)
        made.status, made.status_reason, made.revision = status, why, made.revision + 1
        self.changed()
        return made

    def GetAccessToken(  # noqa: N802
        self, caller: str, request: access.GetAccessTokenRequest
    ) -> access.GetAccessTokenResponse:
        made = self._request(request.access_request_id)
        answer = access.GetAccessTokenResponse(status=made.status)
        if made.status == access.ACCESS_REQUEST_STATUS_APPROVED:
            token = f"jgt_{next(self._numbers):040x}"
            self.tokens[token] = made.id
            answer.token.value, answer.token.node_id = token, made.node_id
            answer.token.expires_at.CopyFrom(timestamp(datetime.now(UTC) + timedelta(hours=1)))
        return answer

    def ListNodes(self, caller: str, request: node.ListNodesRequest) -> node.ListNodesResponse:  # noqa: N802
        found = [node.Node(id=id_, name=name, tags={"Environment": "prod"}) for name, id_ in sorted(NODES.items())]
        return node.ListNodesResponse(nodes=found)

    async def Connect(  # noqa: N802
        self, caller: str, frames: AsyncIterator[session.SessionFrame], context: Any
    ) -> AsyncIterator[session.SessionFrame]:
        first = await anext(frames)
        if first.WhichOneof("frame") == "resume":
            await self._resume(first.resume, frames, context)
            return
        opening = first.open
        self.calls.append(("Open", caller, opening))
        made = self._admitted(opening.access_token)
        if opening.node not in (made.node_id, made.node_name):
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "TOKEN_OTHER_NODE", "the access token does not work")
        opened = session.SessionOpened(
            session_id=f"s-{len(self.sessions):020x}",
            node_id=made.node_id,
            login="ops",
            recorded=True,
            grace_seconds=self.grace_seconds,
        )
        live = Session(opened)
        self.sessions.append(live)
        self.rows[opened.session_id] = session.Session(
            id=opened.session_id,
            access_request_id=made.id,
            user_id=caller,
            node_id=made.node_id,
            node_name=made.node_name,
            kind=opening.kind,
        )
        await live.open(opening, frames, context)
        return
        yield  # makes this an iterator, as the contract's stream is; Session writes by itself

    async def _resume(self, wanted: session.ResumeSession, frames: Any, context: Any) -> None:
        self.calls.append(("Resume", "", wanted))
        made = self._admitted(wanted.access_token)
        row = self.rows.get(wanted.session_id)
        if row is None or row.access_request_id != made.id:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", f"there is no session {wanted.session_id}"
            )
        live = next(live for live in self.sessions if live.opened.session_id == wanted.session_id)
        if live.is_over:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "SESSION_ENDED",
                f"session {wanted.session_id} has ended already",
            )
        await live.resume(wanted, frames, context)

    def _admitted(self, token: str) -> access.AccessRequest:
        made = self.requests.get(self.tokens.get(token, ""))
        if made is None or made.status != access.ACCESS_REQUEST_STATUS_APPROVED:
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REVOKED", "the access token does not work")
        return made

    def ListSessions(self, caller: str, request: session.ListSessionsRequest) -> session.ListSessionsResponse:  # noqa: N802
        over = {live.opened.session_id for live in self.sessions if live.is_over}
        found = [
            row
            for row in self.rows.values()
            if (not request.live_only or row.id not in over) and request.user_id in ("", row.user_id)
        ]
        return session.ListSessionsResponse(sessions=found)

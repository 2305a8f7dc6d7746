"""AccessService: asking for a node, and what became of it."""

# ruff: noqa: N802  # methods are named by the contract

from collections.abc import AsyncIterator

from approvals.model import Status
from gateway.access.reading import RequestReader
from gateway.access.requests import AccessRequests, Ask
from gateway.access.tokens import AccessTokens, IssuedToken
from gateway.api import values
from gateway.api.access_messages import STATUSES, message, summary_message
from gateway.api.current import caller
from gateway.errors import invalid
from gateway.store.requests import Filter
from jitgate.v1 import access_pb2, access_pb2_grpc

_BY_NUMBER = {number: status for status, number in STATUSES.items()}


class AccessService(access_pb2_grpc.AccessServiceServicer):
    def __init__(self, requests: AccessRequests, reader: RequestReader, tokens: AccessTokens) -> None:
        self._requests = requests
        self._reader = reader
        self._tokens = tokens

    async def StartAccessRequest(
        self, request: access_pb2.StartAccessRequestRequest, context: object
    ) -> access_pb2.StartAccessRequestResponse:
        if len(request.nodes) != 1:
            raise invalid("nodes", "exactly one node is asked for at a time", "Make a request for each node.")
        ask = Ask(
            scope=values.scope(request.scope),
            node=request.nodes[0],
            reason=request.reason,
            hours=request.hours or None,
            idempotency_key=request.idempotency_key or None,
        )
        started = await self._requests.start(caller(), ask)
        return access_pb2.StartAccessRequestResponse(request=message(started))

    async def GetAccessRequest(
        self, request: access_pb2.GetAccessRequestRequest, context: object
    ) -> access_pb2.GetAccessRequestResponse:
        found = await self._reader.get(caller(), request.id)
        return access_pb2.GetAccessRequestResponse(request=message(found))

    async def ListAccessRequests(
        self, request: access_pb2.ListAccessRequestsRequest, context: object
    ) -> access_pb2.ListAccessRequestsResponse:
        who = caller()
        limit, key = values.page(request.page)
        list_page = self._reader.waiting_for if request.for_me else self._reader.find
        found, more = await list_page(who, _filter(request, who.user.id), limit, values.after(key))
        token = values.page_token(*values.sort_key(found[-1].life.opened_at, found[-1].life.id)) if more else ""
        return access_pb2.ListAccessRequestsResponse(
            requests=[summary_message(item) for item in found],
            next_page_token=token,
        )

    async def WatchAccessRequest(
        self, request: access_pb2.WatchAccessRequestRequest, context: object
    ) -> AsyncIterator[access_pb2.WatchAccessRequestResponse]:
        async for seen in self._reader.watch(caller(), request.id):
            yield access_pb2.WatchAccessRequestResponse(request=message(seen))

    async def CancelAccessRequest(
        self, request: access_pb2.CancelAccessRequestRequest, context: object
    ) -> access_pb2.CancelAccessRequestResponse:
        cancelled = await self._requests.cancel(caller(), request.id)
        return access_pb2.CancelAccessRequestResponse(request=message(cancelled))

    async def ReturnAccess(
        self, request: access_pb2.ReturnAccessRequest, context: object
    ) -> access_pb2.ReturnAccessResponse:
        returned = await self._requests.give_back(caller(), request.id)
        return access_pb2.ReturnAccessResponse(request=message(returned))

    async def GetAccessToken(
        self, request: access_pb2.GetAccessTokenRequest, context: object
    ) -> access_pb2.GetAccessTokenResponse:
        issued = await self._tokens.issue(caller(), request.access_request_id)
        if not isinstance(issued, IssuedToken):
            return access_pb2.GetAccessTokenResponse(status=STATUSES[issued])
        token = access_pb2.AccessToken(
            value=issued.value, expires_at=values.timestamp(issued.expires_at), node_id=issued.node_id
        )
        return access_pb2.GetAccessTokenResponse(token=token, status=STATUSES[Status.APPROVED])


def _filter(request: access_pb2.ListAccessRequestsRequest, user_id: str) -> Filter:
    """Raises Refused INVALID_FIELD where fields contradict each other."""
    if request.mine and request.requester_id not in {"", user_id}:
        raise invalid("requester_id", "names another requester than mine does", "Leave one of them out.")
    if request.mine and request.for_me:
        raise invalid("for_me", "nobody decides on the own request", "Leave mine or for_me out.")
    unknown = [number for number in request.statuses if number not in _BY_NUMBER]
    if unknown:
        raise invalid("statuses", f"{unknown[0]} is no status of a request")
    account, region = values.scope(request.scope) if request.HasField("scope") else ("", "")
    return Filter(
        statuses=frozenset(_BY_NUMBER[number] for number in request.statuses),
        requester_id=user_id if request.mine else request.requester_id,
        node=request.node,
        account=account,
        region=region,
    )

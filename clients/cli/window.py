"""From nothing to a token: the open window for a node, or a request and the wait for people to approve it."""

import secrets

from clients.cli import tokens, view
from clients.cli.asking import ask, has_person
from clients.cli.errors import NOT_YET, REFUSED, Failure
from clients.cli.options import Plan
from clients.cli.request_view import node, outcome
from clients.cli.wire.channel import Channel
from jitgate.v1 import access_pb2 as access
from jitgate.v1.access_pb2 import AccessRequest, AccessToken

LONGEST_REASON = 256


def open_window(plan: Plan, channel: Channel) -> AccessToken:
    """A token for the plan's node. Asks, requests and waits as far as it takes; raises Failure or CallFailed."""
    found = _mine(plan, channel)
    for request in found:
        if request.status == access.ACCESS_REQUEST_STATUS_APPROVED and (
            token := tokens.fetch(channel, request.id)
        ):
            return token
    pending = next((r for r in found if r.status == access.ACCESS_REQUEST_STATUS_PENDING), None)
    waits = bool(plan.reason) or (plan.command is None and has_person())
    if pending is None and not plan.reason:
        _require_node(plan, channel)
    if not waits:
        _refuse_to_wait(plan, pending)
    request = _decided(plan, channel, pending or start(channel, plan, plan.reason or ask_reason(plan.node)))
    token = tokens.fetch(channel, request.id)
    if token is None:
        raise Failure(f"{outcome(request)}, but its window has ended already", "Request access anew.")
    view.note(outcome(request))
    return token


def start(channel: Channel, plan: Plan, reason: str) -> AccessRequest:
    """Makes the request. Raises Failure when it fails at once: no policy, a conflict, access disabled."""
    wanted = access.StartAccessRequestRequest(
        nodes=[plan.node], reason=reason, hours=plan.hours, idempotency_key=secrets.token_urlsafe(24)
    )
    wanted.scope.account, wanted.scope.region = plan.account, plan.region
    path = "/jitgate.v1.AccessService/StartAccessRequest"
    request = channel.unary(path, wanted, access.StartAccessRequestResponse).request
    if request.status == access.ACCESS_REQUEST_STATUS_FAILED:
        raise failed(request)
    return request


def failed(request: AccessRequest) -> Failure:
    """Why a request failed, and on a conflict (R9) which policies met."""
    lines = [outcome(request)]
    lines += [f"  policy {item.name} targets {', '.join(item.tags) or 'all nodes'}" for item in request.conflict]
    advice = f"See what was decided on: jit requests show {request.id}"
    if request.conflict:
        advice = "Ask a policy administrator to let only one of these policies match the node."
    return Failure("\n".join(lines), advice)


def ask_reason(name: str) -> str:
    """Asks the person until there is a reason that the gateway takes."""
    view.note(f"There is no open window for {name}: access must be requested.")
    while True:
        reason = ask("Reason: ").strip()
        if 0 < len(reason) <= LONGEST_REASON:
            return reason
        view.note(f"A reason has 1 to {LONGEST_REASON} characters.")


def _mine(plan: Plan, channel: Channel) -> list[AccessRequest]:
    """The caller's approved and pending requests for the node, those whose window ends last first."""
    statuses = [access.ACCESS_REQUEST_STATUS_APPROVED, access.ACCESS_REQUEST_STATUS_PENDING]
    wanted = access.ListAccessRequestsRequest(mine=True, node=plan.node, statuses=statuses)
    wanted.scope.account, wanted.scope.region = plan.account, plan.region
    path = "/jitgate.v1.AccessService/ListAccessRequests"
    found = channel.unary(path, wanted, access.ListAccessRequestsResponse).requests
    return sorted(found, key=lambda request: request.window_end.seconds, reverse=True)


def _require_node(plan: Plan, channel: Channel) -> None:
    """Nobody is asked why they need a node that is not there: a mistyped name is told at once, as CallFailed."""
    from jitgate.v1 import node_pb2

    wanted = node_pb2.GetNodeRequest(node=plan.node)
    wanted.scope.account, wanted.scope.region = plan.account, plan.region
    channel.unary("/jitgate.v1.NodeService/GetNode", wanted, node_pb2.GetNodeResponse)


def _refuse_to_wait(plan: Plan, pending: AccessRequest | None) -> None:
    if pending is not None:
        advice = f"Wait for it: jit requests watch {pending.id}"
        raise Failure(f"access to {plan.node} is not approved yet: {pending.id} is pending", advice, NOT_YET)
    advice = f"Say why you need it, here with --reason or with: jit request {plan.node} --reason … --wait"
    raise Failure(f"there is no open window for {plan.node}", advice)


def _decided(plan: Plan, channel: Channel, request: AccessRequest) -> AccessRequest:
    if request.status == access.ACCESS_REQUEST_STATUS_PENDING:
        from clients.cli.waiting import until_decided

        try:
            request = until_decided(channel, request, "Ctrl-C stops waiting; the request stays")
        except KeyboardInterrupt:
            how = "shell" if plan.command is None else "exec"
            go_on = f"jit {how} {plan.node}{'' if how == 'shell' else ' …'}"
            advice = f"Go on: {go_on}    Cancel it: jit cancel {request.id}"
            raise Failure(f"{request.id} for {node(request)} is still pending", advice, NOT_YET) from None
    if request.status != access.ACCESS_REQUEST_STATUS_APPROVED:
        raise Failure(outcome(request), exit_code=REFUSED)
    return request

"""The requester's side: `jit request`, `requests`, `cancel`, `return`, `token`."""

import json
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from clients.cli import view, window
from clients.cli.commands.parameters import (
    ACCESS,
    Account,
    Limit,
    Node,
    Output,
    Region,
    RequestId,
    printed,
    set_scope,
)
from clients.cli.errors import NOT_YET, REFUSED, Failure
from clients.cli.gateway import gateway, listing
from clients.cli.options import Plan
from clients.cli.request_view import levels, node, outcome, status, status_name
from clients.cli.request_view import window as open_window
from clients.cli.view import Format
from clients.cli.wire.channel import Channel
from jitgate.v1 import access_pb2 as access

requests = typer.Typer(help="Access requests.", no_args_is_help=True)
SERVICE = "/jitgate.v1.AccessService"


class StatusName(StrEnum):
    """The statuses, as people write them."""

    PENDING = "pending"
    APPROVED = "approved"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    REVOKED = "revoked"
    RETURNED = "returned"
    EXPIRED = "expired"


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=ACCESS)(request)
    app.add_typer(requests, name="requests", rich_help_panel=ACCESS)
    app.command(rich_help_panel=ACCESS)(cancel)
    app.command("return", rich_help_panel=ACCESS)(return_)
    app.command(rich_help_panel=ACCESS)(token)


def request(
    *,
    target: Node,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; 1 to 256 characters. Asked for if missing.")
    ] = "",
    hours: Annotated[int, typer.Option(min=0, max=336, help="Ask for less time than the policy gives.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Ask for access to a node.

    Exit code 0: approved, or pending without --wait. 1: failed or rejected. 6: still pending after --wait.
    """
    plan = Plan(target, reason=reason, hours=hours, account=account, region=region)
    with gateway() as channel:
        made = window.start(channel, plan, reason or window.ask_reason(target))
        if wait and made.status == access.ACCESS_REQUEST_STATUS_PENDING:
            made = _wait(channel, made)
    if not printed(access.StartAccessRequestResponse(request=made), output):
        view.say(outcome(made))
        for line in levels(made):
            view.say(line)
        if made.status == access.ACCESS_REQUEST_STATUS_PENDING:
            view.note(
                f"Wait for the decision: jit requests watch {made.id}    or connect when it is: jit shell {target}"
            )
        elif made.status == access.ACCESS_REQUEST_STATUS_APPROVED:
            view.note(f"Connect: jit shell {target}")
    if made.status not in (access.ACCESS_REQUEST_STATUS_PENDING, access.ACCESS_REQUEST_STATUS_APPROVED):
        raise typer.Exit(REFUSED)


def _wait(channel: Channel, made: access.AccessRequest) -> access.AccessRequest:
    from clients.cli.waiting import until_decided

    try:
        return until_decided(channel, made, "Ctrl-C stops waiting; the request stays")
    except KeyboardInterrupt:
        advice = f"Go on waiting: jit requests watch {made.id}    Cancel it: jit cancel {made.id}"
        raise Failure(f"{made.id} is still pending", advice, NOT_YET) from None


@requests.command("list")
def list_(
    *,
    for_me: Annotated[bool, typer.Option("--for-me", help="Those that wait for your decision.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Those that you made.")] = False,
    status_: Annotated[list[StatusName] | None, typer.Option("--status", help="May be repeated.")] = None,
    user: Annotated[str, typer.Option(metavar="ID", help="Those of this requester.")] = "",
    target: Annotated[str, typer.Option("--node", metavar="NODE", help="Those for this node.")] = "",
    account: Account = "",
    region: Region = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show access requests, newest first."""
    statuses = [access.AccessRequestStatus.Value(f"ACCESS_REQUEST_STATUS_{name.name}") for name in status_ or ()]
    wanted = access.ListAccessRequestsRequest(
        statuses=statuses, for_me=for_me, mine=mine, requester_id=user, node=target
    )
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = listing(
            channel, f"{SERVICE}/ListAccessRequests", wanted, access.ListAccessRequestsResponse, limit
        )
    if printed(answer, output):
        return
    rows = [
        (
            item.id,
            status(item),
            item.requester_id,
            node(item),
            view.relative(item.created_at),
            open_window(item) or _level(item),
            item.reason,
        )
        for item in answer.requests
    ]
    columns = ("id", "status", "requester", "node", "made", "window or level", "reason")
    view.print_table(
        columns, rows, "Nothing waits for your decision." if for_me else "There are no such requests."
    )
    view.note_more(answer.next_page_token)


def _level(item: access.AccessRequest) -> str:
    pending = item.status == access.ACCESS_REQUEST_STATUS_PENDING and item.levels
    return f"level {item.current_level + 1} of {len(item.levels)}" if pending else ""


@requests.command()
def show(request_id: RequestId, output: Output = Format.TABLE) -> None:
    """Show one request: its levels and decisions, what happened to it, and how it was decided on."""
    with gateway() as channel:
        wanted = access.GetAccessRequestRequest(id=request_id)
        answer = channel.unary(f"{SERVICE}/GetAccessRequest", wanted, access.GetAccessRequestResponse)
    if printed(answer, output):
        return
    item = answer.request
    policy = f"{item.policy.name}, version {item.policy.version}" if item.policy.name else ""
    pending = item.status == access.ACCESS_REQUEST_STATUS_PENDING
    view.print_facts(
        [
            ("request", item.id),
            ("status", status(item)),
            ("because", item.status_reason),
            ("requester", item.requester_id),
            ("node", f"{node(item)} ({item.node_id})"),
            ("scope", f"{item.scope.account or 'default'}/{item.scope.region or 'default'}"),
            ("reason", item.reason),
            ("policy", policy),
            ("made", f"{view.moment(item.created_at)} ({view.relative(item.created_at)})"),
            ("window", open_window(item)),
            ("recordings", f"jit recordings list --request {item.id}" if item.HasField("window_start") else ""),
            ("times out", view.relative(item.pending_until) if pending else ""),
        ]
    )
    for line in levels(item):
        view.say(line)
    for conflict in item.conflict:
        view.say(f"  conflict: policy {conflict.name} targets {', '.join(conflict.tags) or 'all nodes'}")
    for event in item.events:
        who = f" by {event.actor_id}" if event.actor_id else ""
        source = f" from {event.source_address}" if event.source_address else ""
        view.say(f"  {view.moment(event.at)} {event.type}{who}{source} {event.summary}".rstrip())
    if item.explanation.fields:
        from clients.cli.explanation import lines

        for text in lines(item.explanation):
            view.say(text)


@requests.command()
def watch(request_id: RequestId, output: Output = Format.TABLE) -> None:
    """Follow a request until it is decided. With --output json: a line of JSON for every change, until its end.

    Exit code 0: approved. 1: anything else that ended it. 6: you stopped waiting.
    """
    from clients.cli.waiting import changes

    with gateway() as channel:
        if output is Format.JSON:
            for item in changes(channel, request_id):
                print(json.dumps(MessageToDict(item, preserving_proto_field_name=True)), flush=True)
            return
        wanted = access.GetAccessRequestRequest(id=request_id)
        path = f"{SERVICE}/GetAccessRequest"
        item = channel.unary(path, wanted, access.GetAccessRequestResponse).request
        if item.status == access.ACCESS_REQUEST_STATUS_PENDING:
            item = _wait(channel, item)
    view.say(outcome(item))
    if item.status != access.ACCESS_REQUEST_STATUS_APPROVED:
        raise typer.Exit(REFUSED)


def cancel(request_id: RequestId, output: Output = Format.TABLE) -> None:
    """Cancel your pending request."""
    with gateway() as channel:
        wanted = access.CancelAccessRequestRequest(id=request_id)
        answer = channel.unary(f"{SERVICE}/CancelAccessRequest", wanted, access.CancelAccessRequestResponse)
    if not printed(answer, output):
        view.say(outcome(answer.request))


def return_(request_id: RequestId, output: Output = Format.TABLE) -> None:
    """Give an open window back early: its tokens stop working, its sessions end."""
    with gateway() as channel:
        wanted = access.ReturnAccessRequest(id=request_id)
        answer = channel.unary(f"{SERVICE}/ReturnAccess", wanted, access.ReturnAccessResponse)
    if not printed(answer, output):
        view.say(outcome(answer.request))


def token(request_id: RequestId, output: Output = Format.TABLE) -> None:
    """Print an access token of an approved request, for: jit shell NODE --token TOKEN

    It works only for you, from this machine's key, on the request's node, for an hour at most. Pass it on in
    JIT_ACCESS_TOKEN rather than in an argument: others on this machine can read arguments.
    """
    with gateway() as channel:
        wanted = access.GetAccessTokenRequest(access_request_id=request_id)
        answer = channel.unary(f"{SERVICE}/GetAccessToken", wanted, access.GetAccessTokenResponse)
    if not answer.HasField("token"):
        pending = answer.status == access.ACCESS_REQUEST_STATUS_PENDING
        advice = (
            f"Wait for it: jit requests watch {request_id}" if pending else "Request access anew: jit request NODE"
        )
        message = f"{request_id} is {status_name(answer.status)}: there is no token"
        raise Failure(message, advice, NOT_YET if pending else REFUSED)
    if not printed(answer, output):
        print(answer.token.value)
        view.note(f"Works until {view.moment(answer.token.expires_at)}.")

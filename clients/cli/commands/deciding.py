"""The approver's side: `jit approve`, `deny`, `revoke`."""

import typer

from clients.cli import view
from clients.cli.commands.parameters import APPROVALS, Comment, Output, RequestId, printed
from clients.cli.gateway import gateway
from clients.cli.request_view import levels, outcome
from clients.cli.view import Format
from jitgate.v1 import approval_pb2 as approval

SERVICE = "/jitgate.v1.ApprovalService"


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=APPROVALS)(approve)
    app.command(rich_help_panel=APPROVALS)(deny)
    app.command(rich_help_panel=APPROVALS)(revoke)


def approve(request_id: RequestId, comment: Comment = "", output: Output = Format.TABLE) -> None:
    """Approve a request at its current level."""
    wanted = approval.ApproveRequest(access_request_id=request_id, comment=comment)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/Approve", wanted, approval.ApproveResponse)
    _show(answer, output)


def deny(request_id: RequestId, comment: Comment = "", output: Output = Format.TABLE) -> None:
    """Deny a request: one denial ends it."""
    wanted = approval.DenyRequest(access_request_id=request_id, comment=comment)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/Deny", wanted, approval.DenyResponse)
    _show(answer, output)


def revoke(request_id: RequestId, comment: Comment = "", output: Output = Format.TABLE) -> None:
    """Take your approval back, or as an administrator end anybody's window; live sessions end at once."""
    wanted = approval.RevokeRequest(access_request_id=request_id, comment=comment)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/Revoke", wanted, approval.RevokeResponse)
    _show(answer, output)


def _show(
    answer: approval.ApproveResponse | approval.DenyResponse | approval.RevokeResponse, output: Format
) -> None:
    if printed(answer, output):
        return
    view.say(outcome(answer.request))
    for line in levels(answer.request):
        view.say(line)

"""An access request as people see it: who asked for what, which level is asked, who has decided."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from clients.cli.text import clean
from clients.cli.view import length, moment, relative
from jitgate.v1 import access_pb2 as access
from jitgate.v1.access_pb2 import AccessRequest, AccessRequestStatus, ApproverReference, LevelProgress

_COLOURS = {
    access.ACCESS_REQUEST_STATUS_PENDING: "yellow",
    access.ACCESS_REQUEST_STATUS_APPROVED: "green",
    access.ACCESS_REQUEST_STATUS_FAILED: "red",
    access.ACCESS_REQUEST_STATUS_REJECTED: "red",
    access.ACCESS_REQUEST_STATUS_REVOKED: "red",
}
_NAMES = {access.ACCESS_REQUEST_STATUS_TIMED_OUT: "TimedOut"}


def status_name(status: "AccessRequestStatus.ValueType") -> str:
    """As the field names it: Pending, Approved, …"""
    name = access.AccessRequestStatus.Name(status).removeprefix("ACCESS_REQUEST_STATUS_").capitalize()
    return _NAMES.get(status, name)


def status(request: AccessRequest) -> Text:
    return Text(status_name(request.status), style=_COLOURS.get(request.status, ""))


def node(request: AccessRequest) -> str:
    return request.node_name or request.node_id


def window(request: AccessRequest) -> str:
    """What is left of an open window, in words."""
    if request.status != access.ACCESS_REQUEST_STATUS_APPROVED:
        return ""
    if request.window_end.seconds:
        return f"until {moment(request.window_end)} ({relative(request.window_end)})"
    given = length(timedelta(seconds=request.access_seconds))
    return f"{given} from the first session, which must start before {moment(request.first_session_until)}"


def outcome(request: AccessRequest) -> str:
    """One line: what became of the request."""
    line = f"{request.id} for {node(request)}: {status_name(request.status)}"
    if request.status_reason:
        line += f" ({request.status_reason})"
    if open_window := window(request):
        line += f", {open_window}"
    return line


def levels(request: AccessRequest) -> list[Text]:
    """The levels of a manual policy with their approvers and decisions, a line each."""
    lines = []
    for number, level in enumerate(request.levels):
        asked = number == request.current_level and request.status == access.ACCESS_REQUEST_STATUS_PENDING
        lines.append(_level(number, len(request.levels), level, asked=asked))
        for decision in level.decisions:
            mark, style = {"approved": ("✓", "green"), "denied": ("✗", "red")}.get(decision.verdict, ("·", "dim"))
            line = Text(f"    {mark} {clean(decision.actor_id)} {clean(decision.verdict)} ", style=style)
            line.append(relative(decision.at), style="dim")
            if decision.comment:
                line.append(f"  “{clean(decision.comment)}”", style="")
            lines.append(line)
    return lines


def _level(number: int, count: int, level: LevelProgress, *, asked: bool) -> Text:
    approvals = sum(decision.verdict == "approved" for decision in level.decisions)
    mark = "●" if level.complete else "◐" if asked else "○"
    style = "green" if level.complete else "yellow" if asked else "dim"
    line = Text(
        f"  {mark} level {number + 1} of {count}: {approvals} of {level.approvals_needed} approvals", style=style
    )
    who = _who(level.approvers)
    if not level.complete:
        line.append(f"   {'asks' if asked else 'then'} {who}", style="" if asked else "dim")
        if level.escalate_to:
            when = f" {relative(level.escalates_at)}" if level.escalates_at.seconds else ", if they don't decide"
            line.append(f"; {_who(level.escalate_to)} as well{when}", style="dim")
        if level.sign_in_within_minutes:
            line.append(f"; within {level.sign_in_within_minutes} min of a sign-in", style="dim")
    return line


def _who(approvers: Iterable[ApproverReference]) -> str:
    return ", ".join(
        clean(approver.id) if approver.type == "user" else f"{clean(approver.type)} {clean(approver.id)}"
        for approver in approvers
    )


class Live:
    """The request as it stands now, for a display that draws itself again and again."""

    def __init__(self, request: AccessRequest) -> None:
        self.request = request
        self.hint = ""

    def __rich__(self) -> RenderableType:
        request, now = self.request, datetime.now(UTC)
        head = Text("Access request ").append(request.id, style="bold").append(f" for {clean(node(request))}: ")
        head.append_text(status(request))
        lines: list[Text] = [head, Text(f"  “{clean(request.reason)}”", style="italic"), *levels(request)]
        if request.status == access.ACCESS_REQUEST_STATUS_PENDING:
            waited = length(now - request.created_at.ToDatetime(UTC)) if request.created_at.seconds else ""
            line = f"  waiting for {waited}; times out {relative(request.pending_until, now)}"
            lines.append(Text(line, style="dim"))
            if self.hint:
                lines.append(Text(f"  {self.hint}", style="dim"))
        elif request.status_reason:
            lines.append(Text(f"  {clean(request.status_reason)}"))
        return Group(*lines)

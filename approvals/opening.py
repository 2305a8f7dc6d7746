"""How a request begins: Pending, Approved (auto) or Failed (R4, R7, R11, R23)."""

import re
from dataclasses import replace
from datetime import datetime

from approvals.commands import Open
from approvals.model import MAX_ACCESS_HOURS, AutoApproval, Failure, Request, Status
from approvals.outcomes import EventKind, Refusal, RefusalReason, Transition
from approvals.story import end, event
from approvals.text import MAX_TEXT, fault_in
from approvals.window import access_duration

REQUEST_ID = re.compile(r"oi-[0-9a-f]{12}")


def open_request(command: Open, now: datetime) -> Transition | Refusal:
    """The new request, as its plan says, or what is wrong with its input."""
    reason = command.reason.strip()
    if refusal := _refuse_bad_input(command, reason):
        return refusal
    request = Request(
        id=command.request_id,
        requester=command.actor.person,
        account=command.account,
        region=command.region,
        node_id=command.node_id,
        reason=reason,
        hours=command.hours,
        plan=command.plan,
        status=Status.PENDING,
        opened_at=now,
        updated_at=now,
    )
    told = {
        "account": command.account,
        "region": command.region,
        "node_id": command.node_id,
        "reason": reason,
        "hours": command.hours,
    }
    match command.plan:
        case Failure(failure, explanation, details):
            return end(
                request,
                Status.FAILED,
                failure,
                now,
                actor=command.actor,
                note=explanation,
                details={**told, "failure": dict(details)},
            )
        case AutoApproval():
            window_end = now + access_duration(request)
            approved = replace(
                request, status=Status.APPROVED, approved_at=now, window_start=now, window_end=window_end
            )
            told |= {"auto": True, "window_end": window_end.isoformat()}
            return Transition(approved, (event(approved, EventKind.APPROVED, command.actor, told),))
        case _:
            return Transition(request, (event(request, EventKind.OPENED, command.actor, told),))


def _refuse_bad_input(command: Open, reason: str) -> Refusal | None:
    if not REQUEST_ID.fullmatch(command.request_id):
        return Refusal(
            RefusalReason.INVALID_ID,
            "An access request id is oi- and 12 hexadecimal digits.",
            "Let the gateway make the id.",
        )
    fault = "is empty" if not reason else fault_in(reason)
    if fault:
        return Refusal(
            RefusalReason.INVALID_REASON,
            f"The reason {fault}.",
            f"Say in one line of 1 to {MAX_TEXT} characters why access is needed.",
        )
    if command.hours is not None and not 1 <= command.hours <= MAX_ACCESS_HOURS:
        return Refusal(
            RefusalReason.INVALID_HOURS,
            f"{command.hours} hours can't be asked for.",
            f"Ask for 1 to {MAX_ACCESS_HOURS} whole hours, or leave it to the policy.",
        )
    return None

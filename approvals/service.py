"""The life of an access request: which command means what in which status, and which is refused."""

from datetime import datetime, timedelta

from approvals import approved, pending
from approvals.commands import (
    Approve,
    Cancel,
    Command,
    Deny,
    GiveBack,
    Open,
    Reevaluate,
    Revoke,
    SessionStarted,
    SystemRevoke,
    Tick,
    Withdraw,
)
from approvals.eligibility import refuse_stale
from approvals.model import DEFAULT_MEMBERSHIP_MAX_AGE, ApprovalPlan, Request, Status
from approvals.opening import open_request
from approvals.outcomes import Refusal, RefusalReason, Transition
from approvals.window import next_deadline

NAMES: dict[type[Command], str] = {
    Open: "open",
    Approve: "approve",
    Deny: "deny",
    Withdraw: "withdraw",
    Cancel: "cancel",
    Revoke: "revoke",
    GiveBack: "give back",
    Tick: "let time end",
    SystemRevoke: "end",
    Reevaluate: "re-evaluate",
    SessionStarted: "start a session of",
}

INSTEAD: dict[tuple[Status, type[Command]], str] = {
    (Status.PENDING, Revoke): "Withdraw the approval, or deny the request.",
    (Status.PENDING, GiveBack): "Cancel the request.",
    (Status.PENDING, SessionStarted): "Wait for the approvals.",
    (Status.APPROVED, Deny): "Revoke the request.",
    (Status.APPROVED, Withdraw): "Revoke the request.",
    (Status.APPROVED, Cancel): "Give the window back.",
}


def transition(
    request: Request | None,
    command: Command,
    now: datetime,
    *,
    membership_max_age: timedelta = DEFAULT_MEMBERSHIP_MAX_AGE,
) -> Transition | Refusal:
    """What `command` makes of `request` (None: there is none yet, only Open applies).

    A clock that went back doesn't turn the story round: the request's last event is the earliest "now".
    Once a deadline has passed only Tick applies, so that the outcome doesn't depend on how busy the gateway was.
    Opening, deciding and starting a session need fresh membership (R31); taking access away doesn't.
    Raises ValueError for a naive `now` and for a request that no transition can have made.
    """
    if now.utcoffset() is None:
        raise ValueError("now has no time zone")
    if request is None:
        return _open(command, now, membership_max_age)
    now = max(now, request.updated_at)
    if refusal := _refuse_at_once(request, command, now, membership_max_age):
        return refusal
    if request.status is Status.PENDING:
        return _while_pending(request, command, now)
    return _while_approved(request, command, now)


def _open(command: Command, now: datetime, max_age: timedelta) -> Transition | Refusal:
    if not isinstance(command, Open):
        return Refusal(RefusalReason.NOT_FOUND, "There is no such access request.", "Check its id.")
    return refuse_stale(command.actor, now, max_age) or open_request(command, now)


def _refuse_at_once(request: Request, command: Command, now: datetime, max_age: timedelta) -> Refusal | None:
    """What is refused whatever the details: a second opening, after the end, too early or late, stale."""
    deadline = next_deadline(request)
    if isinstance(command, Open):
        return Refusal(
            RefusalReason.ALREADY_OPEN,
            f"There is an access request {request.id} already.",
            "Make a new request under another id.",
        )
    if deadline is None:
        return _wrong_status(request, command)
    if isinstance(command, Tick):
        return _not_due(request, deadline) if now < deadline else None
    if now >= deadline:
        return _too_late(request, deadline)
    if isinstance(command, Approve | Deny | SessionStarted):
        return refuse_stale(command.actor, now, max_age)
    return None


def _while_pending(request: Request, command: Command, now: datetime) -> Transition | Refusal:
    plan, level = request.plan, request.current_level
    if not isinstance(plan, ApprovalPlan) or level is None:
        raise ValueError(f"{request.id} is pending with nothing to decide; its record is damaged")
    outcome: Transition | Refusal
    match command:
        case Approve():
            outcome = pending.approve(request, plan, level, command, now)
        case Deny():
            outcome = pending.deny(request, plan, level, command, now)
        case Withdraw():
            outcome = pending.withdraw(request, command, now)
        case Cancel():
            outcome = pending.cancel(request, command, now)
        case Tick():
            outcome = pending.time_out(request, now)
        case SystemRevoke():
            outcome = pending.fail(request, command, now)
        case Reevaluate():
            outcome = pending.reevaluate(request, plan, command, now)
        case _:
            outcome = _wrong_status(request, command)
    return outcome


def _while_approved(request: Request, command: Command, now: datetime) -> Transition | Refusal:
    outcome: Transition | Refusal
    match command:
        case Revoke():
            outcome = approved.revoke(request, command, now)
        case GiveBack():
            outcome = approved.give_back(request, command, now)
        case Tick():
            outcome = approved.expire(request, now)
        case SystemRevoke():
            outcome = approved.revoke_by_system(request, command, now)
        case Reevaluate():
            outcome = approved.reevaluate(request, command, now)
        case SessionStarted():
            outcome = approved.session_started(request, command, now)
        case _:
            outcome = _wrong_status(request, command)
    return outcome


def _not_due(request: Request, deadline: datetime) -> Refusal:
    return Refusal(
        RefusalReason.NOT_DUE,
        f"Nothing of {request.id} is due before {deadline.isoformat(timespec='seconds')}.",
        "Tick again then.",
    )


def _too_late(request: Request, deadline: datetime) -> Refusal:
    what = "The time to decide about" if request.status is Status.PENDING else "The window of"
    return Refusal(
        RefusalReason.TOO_LATE,
        f"{what} {request.id} ended at {deadline.isoformat(timespec='seconds')}.",
        "Make a new request.",
    )


def _wrong_status(request: Request, command: Command) -> Refusal:
    default = "Make a new request." if request.status.is_final else "Look at the request first."
    return Refusal(
        RefusalReason.WRONG_STATUS,
        f"{request.id} is {request.status}; nobody can {NAMES[type(command)]} it.",
        INSTEAD.get((request.status, type(command)), default),
    )

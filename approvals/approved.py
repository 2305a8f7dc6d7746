"""Approved | revoke, give back, time, the system, and the start of a session (R7, R19 to R21, R31)."""

from dataclasses import replace
from datetime import datetime

from approvals.commands import REEVALUATED, GiveBack, Reevaluate, Revoke, SessionStarted, SystemRevoke
from approvals.model import AutoApproval, EndReason, Request, Status
from approvals.outcomes import EventKind, Refusal, RefusalReason, Transition
from approvals.pending import refuse_comment, refuse_others
from approvals.story import end, event
from approvals.window import access_duration, next_deadline


def revoke(request: Request, command: Revoke, now: datetime) -> Transition | Refusal:
    """Every approval of an approved request is a needed one, as levels never overshoot: the request ends.

    Needs no fresh membership, since it only takes away.
    """
    actor, comment = command.actor, command.comment.strip()
    if any(a.person.is_same(actor.person) for a in request.approvals):
        reason = EndReason.REVOKED_BY_APPROVER
    elif actor.is_administrator:
        reason = EndReason.REVOKED_BY_ADMINISTRATOR
    else:
        return Refusal(
            RefusalReason.NOT_ELIGIBLE,
            f"{actor.user_id} has not approved {request.id} and is no administrator.",
            "Ask one of its approvers or an administrator; the requester can give the window back.",
        )
    if refusal := refuse_comment(comment):
        return refusal
    return end(request, Status.REVOKED, reason, now, actor=actor, note=comment)


def give_back(request: Request, command: GiveBack, now: datetime) -> Transition | Refusal:
    if refusal := refuse_others(request, command.actor.user_id):
        return refusal
    return end(request, Status.RETURNED, EndReason.GIVEN_BACK, now, actor=command.actor)


def expire(request: Request, now: datetime) -> Transition:
    reason = EndReason.WINDOW_ENDED if request.window_end is not None else EndReason.NO_FIRST_SESSION
    return end(request, Status.EXPIRED, reason, now, ended_at=next_deadline(request))


def revoke_by_system(request: Request, command: SystemRevoke, now: datetime) -> Transition:
    return end(request, Status.REVOKED, command.reason, now, actor=command.actor, note=command.note)


def reevaluate(request: Request, command: Reevaluate, now: datetime) -> Transition:
    """Ends an auto-approved window that would not be auto-approved now; what people approved stays (R3)."""
    if not isinstance(request.plan, AutoApproval) or isinstance(command.plan, AutoApproval):
        return Transition(request)
    note = f"{REEVALUATED[command.reason]}; {request.plan.policy.name} no longer approves it."
    return end(request, Status.REVOKED, command.reason, now, actor=command.actor, note=note)


def session_started(request: Request, command: SessionStarted, now: datetime) -> Transition | Refusal:
    """Starts a window that waits for its first session; further sessions change nothing."""
    if refusal := refuse_others(request, command.actor.user_id):
        return refusal
    if request.window_end is not None:
        return Transition(request)
    window_end = now + access_duration(request)
    request = replace(request, window_start=now, window_end=window_end, updated_at=now)
    told = {"window_end": window_end.isoformat()}
    return Transition(request, (event(request, EventKind.WINDOW_STARTED, command.actor, told),))

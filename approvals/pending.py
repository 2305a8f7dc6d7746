"""Pending | approve, deny, withdraw, cancel, time (R16 to R21), and what the life table leaves open.

The table has no row for a pending request whose ground falls away: access is disabled, the user or node is
locked or gone, the tags of the node change. It ends as **Failed**, with the reason: Cancelled and Rejected
are what people decided, Failed is what could not be decided, as when the opening finds the same.
"""

from dataclasses import replace
from datetime import datetime

from approvals.commands import REEVALUATED, Approve, Cancel, Deny, Reevaluate, SystemRevoke, Withdraw
from approvals.eligibility import seat_of_decider
from approvals.model import (
    FIRST_SESSION_WITHIN,
    Approval,
    ApprovalPlan,
    EndReason,
    Failure,
    Person,
    Request,
    Status,
    WindowStarts,
)
from approvals.outcomes import EventKind, Refusal, RefusalReason, Transition
from approvals.story import end, event
from approvals.text import fault_in
from approvals.window import access_duration, next_deadline


def approve(
    request: Request, plan: ApprovalPlan, level: int, command: Approve, now: datetime
) -> Transition | Refusal:
    """Counts once per person. The approval that fills a level ends it; the last level's opens the window."""
    actor, comment = command.actor, command.comment.strip()
    seat = seat_of_decider(request, plan, level, actor, now)
    if isinstance(seat, Refusal):
        return seat
    if refusal := refuse_comment(comment):
        return refusal
    counted = request.approvals if plan.distinct_persons_per_request else request.approvals_of(level)
    if earlier := next((a for a in counted if a.person.is_same(actor.person)), None):
        return Refusal(
            RefusalReason.ALREADY_APPROVED,
            f"{actor.user_id} has approved {request.id} already, at level {earlier.level + 1}; "
            "a person counts once.",
            "Leave it to another approver.",
        )
    approval = Approval(level, actor.person, seat, now, comment, actor.source_address)
    request = replace(request, approvals=(*request.approvals, approval), updated_at=now)
    given, needed = len(request.approvals_of(level)), plan.levels[level].needed
    told: dict[str, object] = {"level": level + 1, "given": given, "needed": needed}
    events = [event(request, EventKind.APPROVAL_GIVEN, actor, {**told, "through": str(seat), "comment": comment})]
    if given >= needed:
        events.append(event(request, EventKind.LEVEL_COMPLETED, actor, told))
        if level == len(plan.levels) - 1:
            request = _approved(request, plan, now)
            events.append(event(request, EventKind.APPROVED, actor, _window(request, now)))
    return Transition(request, tuple(events))


def _approved(request: Request, plan: ApprovalPlan, now: datetime) -> Request:
    request = replace(request, status=Status.APPROVED, approved_at=now)
    if plan.window_starts is WindowStarts.FIRST_SESSION:
        return request
    return replace(request, window_start=now, window_end=now + access_duration(request))


def _window(request: Request, now: datetime) -> dict[str, object]:
    if request.window_end is not None:
        return {"auto": False, "window_end": request.window_end.isoformat()}
    return {"auto": False, "first_session_by": (now + FIRST_SESSION_WITHIN).isoformat()}


def deny(request: Request, plan: ApprovalPlan, level: int, command: Deny, now: datetime) -> Transition | Refusal:
    """One denial at any level ends the request (R18), also by somebody who has approved before."""
    seat = seat_of_decider(request, plan, level, command.actor, now)
    if isinstance(seat, Refusal):
        return seat
    comment = command.comment.strip()
    if refusal := refuse_comment(comment):
        return refusal
    return end(
        request,
        Status.REJECTED,
        EndReason.DENIED,
        now,
        actor=command.actor,
        note=comment,
        details={"level": level + 1, "through": str(seat)},
    )


def withdraw(request: Request, command: Withdraw, now: datetime) -> Transition | Refusal:
    """Takes all approvals of one person back, or, for an administrator, those of everybody (R19).

    When one of them stands in a level that was complete, the request falls back to that level and what later
    levels gave lapses: it was given on the strength of the earlier level (R16). Taking back needs no fresh
    membership, since it only takes away. The request itself stays: that is denied, or its ground locked.
    """
    actor, comment = command.actor, command.comment.strip()
    if refusal := refuse_comment(comment):
        return refusal
    taken = _taken_back(request, command)
    if isinstance(taken, Refusal):
        return taken
    level = min(a.level for a in taken)
    kept = tuple(a for a in request.approvals if a.level <= level and a not in taken)
    gone = {a.person.user_id: None for a in taken}
    lapsed = [a.person.user_id for a in request.approvals if a not in kept and a.person.user_id not in gone]
    request = replace(request, approvals=kept, updated_at=now)
    told = {"approver": ", ".join(gone), "level": level + 1, "lapsed": lapsed, "note": comment}
    return Transition(request, (event(request, EventKind.APPROVAL_WITHDRAWN, actor, told),))


def _taken_back(request: Request, command: Withdraw) -> tuple[Approval, ...] | Refusal:
    """The approvals that go: one at least."""
    actor = command.actor
    if command.approver_id is None or command.approver_id == actor.user_id:
        whose = actor.person
    elif actor.is_administrator:
        whose = Person(command.approver_id)
    else:
        return Refusal(
            RefusalReason.NOT_ELIGIBLE,
            f"{actor.user_id} can't take the approval of {command.approver_id} back.",
            "Ask that approver or an administrator.",
        )
    taken = tuple(a for a in request.approvals if a.person.is_same(whose))
    if not taken and command.approver_id is None and actor.is_administrator:
        taken = request.approvals
    if taken:
        return taken
    if not request.approvals:
        return Refusal(
            RefusalReason.NOTHING_TO_WITHDRAW,
            f"Nobody has approved {request.id} so far.",
            "An approver can deny it; to lock its requester or its node ends it too.",
        )
    return Refusal(
        RefusalReason.NOTHING_TO_WITHDRAW,
        f"{whose.user_id} has given no approval to {request.id}.",
        "Look at the request's approvals.",
    )


def cancel(request: Request, command: Cancel, now: datetime) -> Transition | Refusal:
    if refusal := refuse_others(request, command.actor.user_id):
        return refusal
    return end(request, Status.CANCELLED, EndReason.CANCELLED, now, actor=command.actor)


def time_out(request: Request, now: datetime) -> Transition:
    return end(request, Status.TIMED_OUT, EndReason.NOT_DECIDED_IN_TIME, now, ended_at=next_deadline(request))


def fail(request: Request, command: SystemRevoke, now: datetime) -> Transition:
    return end(request, Status.FAILED, command.reason, now, actor=command.actor, note=command.note)


def reevaluate(request: Request, plan: ApprovalPlan, command: Reevaluate, now: datetime) -> Transition:
    """Goes on, by the pinned version, when the same policy still decides; else fails (R3).

    A change never approves: where an auto-approval would fit now, the requester asks again and has it.
    """
    match command.plan:
        case ApprovalPlan(policy) if policy.name == plan.policy.name:
            return Transition(request)
        case Failure(reason, explanation, details):
            return end(
                request,
                Status.FAILED,
                reason,
                now,
                actor=command.actor,
                note=explanation,
                details={"failure": dict(details)},
            )
        case _:
            note = f"{REEVALUATED[command.reason]}; {plan.policy.name} no longer decides about it."
            return end(request, Status.FAILED, command.reason, now, actor=command.actor, note=note)


def refuse_comment(comment: str) -> Refusal | None:
    fault = fault_in(comment) if comment else None
    if fault is None:
        return None
    return Refusal(RefusalReason.INVALID_COMMENT, f"The comment {fault}.", "Write one plain line, or none.")


def refuse_others(request: Request, user_id: str) -> Refusal | None:
    """The requester's own commands: the very identity that asked, not another one of the same person."""
    if user_id == request.requester.user_id:
        return None
    return Refusal(
        RefusalReason.NOT_REQUESTER,
        f"{request.id} was made by {request.requester.user_id}, not by {user_id}.",
        "Only the requester can do this.",
    )

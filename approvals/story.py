"""How a request's story is told: each change with the event that reports it (R29)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from approvals.model import OPENING_FAILURES, Actor, EndReason, Request, Status
from approvals.outcomes import EventKind, RequestEvent, Transition

ENDINGS = {
    Status.FAILED: EventKind.FAILED,
    Status.REJECTED: EventKind.REJECTED,
    Status.CANCELLED: EventKind.CANCELLED,
    Status.TIMED_OUT: EventKind.TIMED_OUT,
    Status.REVOKED: EventKind.REVOKED,
    Status.RETURNED: EventKind.RETURNED,
    Status.EXPIRED: EventKind.EXPIRED,
}


def event(request: Request, kind: EventKind, actor: Actor | None, details: Mapping[str, object]) -> RequestEvent:
    """What just happened to the request, at its `updated_at`."""
    return RequestEvent(
        kind=kind,
        request_id=request.id,
        at=request.updated_at,
        status=request.status,
        actor=actor.user_id if actor else None,
        source_address=actor.source_address if actor else "",
        policy=request.policy,
        details=details,
    )


def end(
    request: Request,
    status: Status,
    reason: EndReason,
    now: datetime,
    *,
    actor: Actor | None = None,
    ended_at: datetime | None = None,
    note: str = "",
    details: Mapping[str, object] | None = None,
) -> Transition:
    """The request in a final status, with the one event that says so."""
    ended = replace(
        request,
        status=status,
        updated_at=now,
        ended_at=ended_at or now,
        end_reason=reason,
        end_note=note,
        # What the policies refuse at its opening is not ended by who asked.
        ended_by=actor.user_id if actor and reason not in OPENING_FAILURES else "",
    )
    told = {**(details or {}), "end_reason": reason.value, "note": note}
    return Transition(ended, (event(ended, ENDINGS[status], actor, told),))

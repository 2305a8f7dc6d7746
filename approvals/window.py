"""When a request's window is open, and when time next has something to do (R7, R21)."""

from datetime import datetime, timedelta

from approvals.model import (
    AUTO_APPROVED_WINDOW,
    CLOCK_TOLERANCE,
    FIRST_SESSION_WITHIN,
    ApprovalPlan,
    Request,
    Status,
)


def is_open(request: Request, now: datetime) -> bool:
    """True while access is granted; at the very end of the window it no longer is.

    Also true while the first session is awaited: that session needs its token. A clock that stands before the
    approval, beyond what two gateways may disagree, opens nothing.
    """
    end = next_deadline(request)
    if request.status is not Status.APPROVED or request.approved_at is None or end is None:
        return False
    return request.approved_at - CLOCK_TOLERANCE <= now < end


def next_deadline(request: Request) -> datetime | None:
    """When a Tick is due: the end of the waiting or of the window; None once the request has ended."""
    if request.status is Status.PENDING and isinstance(request.plan, ApprovalPlan):
        return request.opened_at + request.plan.pending_timeout
    if request.status is Status.APPROVED and request.approved_at is not None:
        return request.window_end or request.approved_at + FIRST_SESSION_WITHIN
    return None


def access_duration(request: Request) -> timedelta:
    """How long the window is: the plan's time, shortened by the hours that were asked for.

    Asking for more than the plan gives is no error, since the requester can't know which policy will decide.
    An auto-approved window is one hour whatever was asked: hours are whole, so none is shorter.
    """
    if not isinstance(request.plan, ApprovalPlan):
        return AUTO_APPROVED_WINDOW
    longest = request.plan.access_duration
    return longest if request.hours is None else min(longest, timedelta(hours=request.hours))

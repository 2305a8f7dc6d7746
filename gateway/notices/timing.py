"""When time itself gives a reason to tell people of a request (R22): values in, values out."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from approvals.eligibility import escalates_at
from approvals.model import ApprovalPlan, Request, Status
from approvals.window import next_deadline

REMINDER: Final = "access_request.reminder"
ESCALATED: Final = "access_request.escalated"
PENDING_ENDS_SOON: Final = "access_request.pending_ends_soon"
WINDOW_ENDS_SOON: Final = "access_request.window_ends_soon"
TYPES: Final = (ESCALATED, REMINDER, PENDING_ENDS_SOON, WINDOW_ENDS_SOON)

BEFORE_PENDING_ENDS: Final = timedelta(hours=1)
"""Or a tenth of the time that there is for a decision, if that is less."""
BEFORE_WINDOW_ENDS: Final = timedelta(minutes=15)


def due(life: Request, told: Mapping[str, datetime], now: datetime) -> list[str]:
    """The types of the events that are due. `told`: when each type was last told of this request."""
    deadline = next_deadline(life)
    if deadline is not None and deadline <= now:
        return []  # nobody can do anything about it any more, though that may not have been written down yet
    if life.status is Status.PENDING and isinstance(life.plan, ApprovalPlan):
        kinds = [kind for kind, at in _while_pending(life, life.plan, told) if at <= now]
        # Alone: of several notices at once each person gets the last, and some are asked only by this one.
        return [ESCALATED] if ESCALATED in kinds else kinds
    if life.status is Status.APPROVED and life.window_end is not None and life.window_start is not None:
        at = life.window_end - BEFORE_WINDOW_ENDS
        return [WINDOW_ENDS_SOON] if at <= now and WINDOW_ENDS_SOON not in told else []
    return []


def _while_pending(life: Request, plan: ApprovalPlan, told: Mapping[str, datetime]) -> list[tuple[str, datetime]]:
    moments = []
    since, level = life.level_since, life.current_level
    escalation = None if level is None else escalates_at(life, plan.levels[level])
    if escalation is not None and _last(told, ESCALATED, since) < escalation:
        moments.append((ESCALATED, escalation))
    if plan.remind_every is not None:
        # Whoever is asked only since the escalation was told then.
        last = max(_last(told, REMINDER, since), _last(told, ESCALATED, since))
        moments.append((REMINDER, last + plan.remind_every))
    deadline = next_deadline(life)
    if deadline is not None and PENDING_ENDS_SOON not in told:
        moments.append((PENDING_ENDS_SOON, deadline - min(BEFORE_PENDING_ENDS, plan.pending_timeout / 10)))
    return moments


def _last(told: Mapping[str, datetime], kind: str, since: datetime) -> datetime:
    """When it was last told of the level that began then; when it began, if it was not."""
    return max(told.get(kind, since), since)

"""Who may decide: on fresh membership, at the current level, never on the own request (R17, R31)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from approvals.model import CLOCK_TOLERANCE, Actor, ApprovalPlan, Approver, ApproverKind, Level, Request
from approvals.outcomes import Refusal, RefusalReason


def refuse_stale(actor: Actor, now: datetime, max_age: timedelta) -> Refusal | None:
    """A refusal when the actor's membership was read too long ago, or at a time still to come."""
    age = now - actor.membership_checked_at
    if -CLOCK_TOLERANCE <= age <= max_age:
        return None
    return Refusal(
        RefusalReason.STALE_MEMBERSHIP,
        f"The group membership of {actor.user_id} was last confirmed at "
        f"{actor.membership_checked_at.isoformat(timespec='seconds')}, which is too old to decide on.",
        "Sign in again, then repeat the command.",
    )


def seat_at(approvers: Sequence[Approver], actor: Actor) -> Approver | None:
    """The entry that makes this actor an approver, the most personal first; None for others."""
    for kind, ids in (
        (ApproverKind.USER, {actor.user_id}),
        (ApproverKind.IAM_USER, {actor.iam_user} if actor.iam_user else set()),
        (ApproverKind.GROUP, actor.groups),
    ):
        for approver in approvers:
            if approver.kind is kind and approver.id in ids:
                return approver
    return None


def escalates_at(request: Request, level: Level) -> datetime | None:
    """From when on those to whom the current level escalates may decide; None: it does not escalate (R22)."""
    return None if level.escalate_after is None else request.level_since + level.escalate_after


def asked(request: Request, level: Level, now: datetime) -> tuple[Approver, ...]:
    """Who may decide at the current level now."""
    later = escalates_at(request, level)
    return level.named if later is not None and now >= later else level.approvers


def seat_of_decider(
    request: Request, plan: ApprovalPlan, current: int, actor: Actor, now: datetime
) -> Approver | Refusal:
    """The seat from which the actor may approve or deny at the current level, or why there is none."""
    if request.requester.is_same(actor.person):
        return Refusal(
            RefusalReason.OWN_REQUEST,
            f"{request.id} is the own request of {actor.user_id}; nobody decides on the own request.",
            "Ask another approver, or cancel the request.",
        )
    level = plan.levels[current]
    approvers = asked(request, level, now)
    if seat := seat_at(approvers, actor):
        return _refuse_old_sign_in(request, level, actor, now) or seat
    at, later = "", escalates_at(request, level)
    elsewhere = [str(i + 1) for i, other in enumerate(plan.levels) if i != current and seat_at(other.named, actor)]
    if later is not None and seat_at(level.escalate_to, actor):
        at = f" before {later.isoformat(timespec='seconds')}"
    elif elsewhere:
        at = f"; {actor.user_id} is one at level {', '.join(elsewhere)}"
    return Refusal(
        RefusalReason.NOT_ELIGIBLE,
        f"{actor.user_id} is no approver of {request.id} at level {current + 1}, where it stands{at}.",
        "Ask an approver of this level: " + ", ".join(map(str, approvers)) + ".",
    )


def _refuse_old_sign_in(request: Request, level: Level, actor: Actor, now: datetime) -> Refusal | None:
    """A way that can't tell when the person signed in proves nothing."""
    within, at = level.sign_in_within, actor.signed_in_at
    if within is None or (at is not None and -CLOCK_TOLERANCE <= now - at <= within):
        return None
    minutes = within // timedelta(minutes=1)
    return Refusal(
        RefusalReason.STEP_UP_NEEDED,
        f"This level of {request.id} is decided only within {minutes} minutes of a sign-in.",
        "Sign in again, then repeat it: jit login. With an identity provider: on the request's page.",
    )

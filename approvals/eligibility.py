"""Who may decide: on fresh membership, at the current level, never on the own request (R17, R31)."""

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


def seat_at(level: Level, actor: Actor) -> Approver | None:
    """The entry of the level that makes this actor an approver, the most personal first; None for others."""
    for kind, ids in (
        (ApproverKind.USER, {actor.user_id}),
        (ApproverKind.IAM_USER, {actor.iam_user} if actor.iam_user else set()),
        (ApproverKind.GROUP, actor.groups),
    ):
        for approver in level.approvers:
            if approver.kind is kind and approver.id in ids:
                return approver
    return None


def seat_of_decider(request: Request, plan: ApprovalPlan, current: int, actor: Actor) -> Approver | Refusal:
    """The seat from which the actor may approve or deny at the current level, or why there is none."""
    if request.requester.is_same(actor.person):
        return Refusal(
            RefusalReason.OWN_REQUEST,
            f"{request.id} is the own request of {actor.user_id}; nobody decides on the own request.",
            "Ask another approver, or cancel the request.",
        )
    if seat := seat_at(plan.levels[current], actor):
        return seat
    elsewhere = [str(i + 1) for i, level in enumerate(plan.levels) if seat_at(level, actor)]
    at = f"; {actor.user_id} is one at level {', '.join(elsewhere)}" if elsewhere else ""
    return Refusal(
        RefusalReason.NOT_ELIGIBLE,
        f"{actor.user_id} is no approver of {request.id} at level {current + 1}, where it stands{at}.",
        "Ask an approver of this level: " + ", ".join(map(str, plan.levels[current].approvers)) + ".",
    )

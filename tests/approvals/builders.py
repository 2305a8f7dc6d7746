"""Requests in every status, made by the core itself, and the people around them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from approvals.commands import Approve, Cancel, Command, Deny, GiveBack, Open, Revoke, Tick
from approvals.model import (
    Actor,
    ApprovalPlan,
    Approver,
    ApproverKind,
    AutoApproval,
    EndReason,
    Failure,
    Level,
    Plan,
    PolicyRef,
    Request,
    Status,
    WindowStarts,
)
from approvals.outcomes import Refusal, RefusalReason, Transition
from approvals.service import transition

T0 = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=s) for s in (1, 60, 3600, 86400))
ID = "oi-0123456789ab"
AUTO = AutoApproval(PolicyRef("auto", 3))
NO_POLICY = Failure(EndReason.NO_POLICY, "No policy applies to alice on web-1.", {"looked_at": ["web"]})


def user(name: str) -> Approver:
    return Approver(ApproverKind.USER, name)


def group(name: str) -> Approver:
    return Approver(ApproverKind.GROUP, name)


def iam_user(name: str) -> Approver:
    return Approver(ApproverKind.IAM_USER, name)


def actor(
    name: str,
    *groups: str,
    at: datetime = T0,
    person: str | None = None,
    iam: str | None = None,
    admin: bool = False,
) -> Actor:
    return Actor(name, at, frozenset(groups), person, iam, admin, source_address="192.0.2.7")


ALICE = actor("alice", "dev")  # the requester
BOB = actor("bob", "sre")
CAROL = actor("carol", "sre", "security")
DAVE = actor("dave", "security")
ROOT = actor("root", admin=True)
TWO_LEVELS = (Level((user("bob"), user("carol"))), Level((user("dave"), user("carol"))))


def plan(
    *levels: Level,
    hours: int = 4,
    starts: WindowStarts = WindowStarts.APPROVAL,
    distinct: bool = True,
    timeout: timedelta = 7 * DAY,
) -> ApprovalPlan:
    return ApprovalPlan(
        PolicyRef("web", 2), timedelta(hours=hours), levels or TWO_LEVELS, timeout, starts, distinct
    )


def opening(
    decided: Plan, *, reason: str = "disk full", hours: int | None = None, by: Actor = ALICE, name: str = ID
) -> Open:
    return Open(name, by, "default", "default", "i-0123456789abcdef0", reason, decided, hours)


def done(request: Request | None, command: Command, now: datetime = T0) -> Request:
    """The request after a command that must be right."""
    outcome = transition(request, command, now)
    assert isinstance(outcome, Transition), outcome
    return outcome.request


def carried_out(request: Request | None, command: Command, now: datetime = T0) -> Transition:
    outcome = transition(request, command, now)
    assert isinstance(outcome, Transition), outcome
    return outcome


def refused(request: Request | None, command: Command, now: datetime = T0) -> Refusal:
    outcome = transition(request, command, now)
    assert isinstance(outcome, Refusal), outcome
    assert outcome.message
    assert outcome.what_to_do
    return outcome


def why(request: Request | None, command: Command, now: datetime = T0) -> RefusalReason:
    return refused(request, command, now).reason


def pending(*levels: Level, decided: ApprovalPlan | None = None, hours: int | None = None) -> Request:
    return done(None, opening(decided or plan(*levels), hours=hours))


def approved(decided: ApprovalPlan | None = None, hours: int | None = None) -> Request:
    """Approved at T0 by one person, bob, unless a plan of two levels is given: then by bob and dave."""
    decided = decided or plan(Level((user("bob"),)))
    request = done(pending(decided=decided, hours=hours), Approve(BOB))
    return request if len(decided.levels) == 1 else done(request, Approve(DAVE))


def in_status(status: Status) -> Request:
    match status:
        case Status.PENDING:
            return pending(Level((user("bob"), user("carol")), needed=2))
        case Status.APPROVED:
            return approved()
        case Status.FAILED:
            return done(None, opening(NO_POLICY))
        case Status.REJECTED:
            return done(pending(), Deny(BOB))
        case Status.CANCELLED:
            return done(pending(), Cancel(ALICE))
        case Status.TIMED_OUT:
            return done(pending(), Tick(), T0 + 7 * DAY)
        case Status.REVOKED:
            return done(approved(), Revoke(BOB))
        case Status.RETURNED:
            return done(approved(), GiveBack(ALICE))
        case Status.EXPIRED:
            return done(approved(), Tick(), T0 + 4 * HOUR)


def fresh(who: Actor, now: datetime) -> Actor:
    return replace(who, membership_checked_at=now)

"""How a request ends before its time."""

import pytest

from approvals.commands import SYSTEM_REASONS, Cancel, GiveBack, Reevaluate, Revoke, SystemRevoke
from approvals.model import Actor, ApprovalPlan, EndReason, Failure, Level, PolicyRef, Request, Status
from approvals.outcomes import EventKind, RefusalReason
from approvals.window import is_open
from tests.approvals.builders import (
    ALICE,
    AUTO,
    BOB,
    CAROL,
    DAVE,
    DAY,
    HOUR,
    NO_POLICY,
    ROOT,
    T0,
    actor,
    approved,
    carried_out,
    done,
    opening,
    pending,
    plan,
    user,
    why,
)

CONFLICT = Failure(EndReason.POLICY_CONFLICT, "web and db both match.", {"policies": ["web", "db"]})
OTHER = ApprovalPlan(PolicyRef("db", 1), 4 * HOUR, (Level((user("bob"),)),))
NEWER = ApprovalPlan(PolicyRef("web", 9), 1 * HOUR, (Level((user("dave"),)),))


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (BOB, EndReason.REVOKED_BY_APPROVER),
        (DAVE, EndReason.REVOKED_BY_APPROVER),
        (ROOT, EndReason.REVOKED_BY_ADMINISTRATOR),
        (actor("bob", at=T0 - 9 * DAY), EndReason.REVOKED_BY_APPROVER),
    ],
)
def test_an_approver_of_any_level_and_an_administrator_revoke(who: Actor, reason: EndReason) -> None:
    outcome = carried_out(approved(plan()), Revoke(who, "wrong node"), T0 + HOUR)
    ended, (event,) = outcome.request, outcome.events
    assert (ended.status, ended.end_reason, ended.ended_at) == (Status.REVOKED, reason, T0 + HOUR)
    assert ended.ended_by == who.user_id
    assert not is_open(ended, T0 + HOUR)
    assert (event.kind, event.actor, event.details["note"]) == (EventKind.REVOKED, who.user_id, "wrong node")


@pytest.mark.rule("R19")
def test_who_did_not_approve_cannot_revoke() -> None:
    for who in (CAROL, ALICE, actor("erin", "sre")):
        assert why(approved(plan()), Revoke(who)) is RefusalReason.NOT_ELIGIBLE
    assert why(done(None, opening(AUTO)), Revoke(BOB)) is RefusalReason.NOT_ELIGIBLE
    assert done(None, opening(AUTO)).approvals == ()
    assert why(approved(), Revoke(BOB, "a\nb")) is RefusalReason.INVALID_COMMENT


@pytest.mark.rule("R20")
def test_the_requester_cancels_and_gives_back() -> None:
    assert done(pending(), Cancel(ALICE)).end_reason is EndReason.CANCELLED
    outcome = carried_out(approved(), GiveBack(ALICE), T0 + HOUR)
    assert (outcome.request.status, outcome.events[0].kind) == (Status.RETURNED, EventKind.RETURNED)
    assert not is_open(outcome.request, T0 + HOUR)


@pytest.mark.rule("R20")
def test_nobody_else_cancels_or_gives_back() -> None:
    for who in (BOB, ROOT):
        assert why(pending(), Cancel(who)) is RefusalReason.NOT_REQUESTER
        assert why(approved(), GiveBack(who)) is RefusalReason.NOT_REQUESTER


@pytest.mark.rule("R4")
@pytest.mark.parametrize("reason", sorted(SYSTEM_REASONS))
def test_the_system_ends_windows_as_revoked_and_waiting_as_failed(reason: EndReason) -> None:
    command = SystemRevoke(reason, ROOT, "maintenance")
    for request, status in (
        (approved(), Status.REVOKED),
        (done(None, opening(AUTO)), Status.REVOKED),
        (pending(), Status.FAILED),
    ):
        outcome = carried_out(request, command)
        ended, (event,) = outcome.request, outcome.events
        assert (ended.status, ended.end_reason, ended.end_note) == (status, reason, "maintenance")
        assert (event.status, event.actor, event.details["end_reason"]) == (status, "root", reason.value)
        assert not is_open(ended, T0)


@pytest.mark.rule("R4")
@pytest.mark.parametrize("reason", sorted(set(EndReason) - SYSTEM_REASONS))
def test_no_other_reason_is_the_systems(reason: EndReason) -> None:
    with pytest.raises(ValueError, match=reason.value):
        SystemRevoke(reason)


@pytest.mark.rule("R3")
@pytest.mark.parametrize("request_", [pending(), approved(), approved(plan())], ids=["pending", "1", "2"])
def test_a_changed_tag_that_leaves_the_policy_in_place_changes_nothing(request_: Request) -> None:
    outcome = carried_out(request_, Reevaluate(NEWER))
    assert outcome.events == ()
    assert outcome.request == request_
    assert outcome.request.policy == PolicyRef("web", 2)


@pytest.mark.rule("R3")
@pytest.mark.parametrize(
    ("plan_now", "reason"),
    [
        (OTHER, EndReason.TAGS_CHANGED),
        (AUTO, EndReason.TAGS_CHANGED),
        (NO_POLICY, EndReason.NO_POLICY),
        (CONFLICT, EndReason.POLICY_CONFLICT),
    ],
)
def test_a_changed_tag_fails_what_another_policy_would_decide(plan_now: object, reason: EndReason) -> None:
    outcome = carried_out(pending(), Reevaluate(plan_now, ROOT))  # type: ignore[arg-type]  # parametrized
    assert (outcome.request.status, outcome.request.end_reason) == (Status.FAILED, reason)
    assert outcome.request.end_note
    if plan_now is CONFLICT:
        assert outcome.events[0].details["failure"] == {"policies": ["web", "db"]}


@pytest.mark.rule("R3")
def test_an_auto_approved_window_lasts_while_the_tags_fit() -> None:
    request = done(None, opening(AUTO))
    assert carried_out(request, Reevaluate(AUTO)).request == request
    for plan_now in (OTHER, NO_POLICY, CONFLICT):
        ended = done(request, Reevaluate(plan_now, ROOT))
        assert (ended.status, ended.end_reason) == (Status.REVOKED, EndReason.TAGS_CHANGED)


@pytest.mark.rule("R3")
def test_what_changed_is_told() -> None:
    changed = Reevaluate(OTHER, ROOT, EndReason.REQUESTER_CHANGED)
    for before in (done(None, opening(AUTO)), pending()):
        ended = done(before, changed)
        assert ended.end_reason is EndReason.REQUESTER_CHANGED
        assert ended.end_note.startswith("The requester's groups or attributes changed")
    with pytest.raises(ValueError, match="DENIED"):
        Reevaluate(OTHER, ROOT, EndReason.DENIED)


@pytest.mark.rule("R3")
def test_what_people_approved_outlasts_the_tags() -> None:
    request = approved()
    for plan_now in (OTHER, NO_POLICY, CONFLICT, AUTO):
        assert carried_out(request, Reevaluate(plan_now)).request == request

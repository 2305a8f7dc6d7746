"""Approving, denying and taking back, level by level."""

import itertools
from dataclasses import replace

import pytest

from approvals.commands import Approve, Deny, Withdraw
from approvals.model import EndReason, Level, Request, Status
from approvals.outcomes import EventKind, RefusalReason, Transition
from approvals.service import transition
from tests.approvals.builders import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAY,
    MINUTE,
    ROOT,
    SECOND,
    T0,
    actor,
    carried_out,
    done,
    fresh,
    group,
    iam_user,
    opening,
    pending,
    plan,
    refused,
    user,
    why,
)

TWO_OF_THREE = Level((user("bob"), user("carol"), user("dave")), needed=2)


def approvers(request: Request) -> list[str]:
    return [a.person.user_id for a in request.approvals]


@pytest.mark.rule("R16")
def test_levels_proceed_one_at_a_time() -> None:
    request = pending()
    assert request.current_level == 0
    first = carried_out(request, Approve(BOB, "fine"))
    assert (first.request.status, first.request.current_level) == (Status.PENDING, 1)
    assert [e.kind for e in first.events] == [EventKind.APPROVAL_GIVEN, EventKind.LEVEL_COMPLETED]
    second = carried_out(first.request, Approve(DAVE), T0 + MINUTE)
    assert (second.request.status, second.request.approved_at) == (Status.APPROVED, T0 + MINUTE)
    assert [e.kind for e in second.events] == [
        EventKind.APPROVAL_GIVEN,
        EventKind.LEVEL_COMPLETED,
        EventKind.APPROVED,
    ]
    assert [e.status for e in second.events] == [Status.PENDING, Status.PENDING, Status.APPROVED]
    assert second.events[0].details == {
        "level": 2,
        "given": 1,
        "needed": 1,
        "through": "user dave",
        "comment": "",
    }


@pytest.mark.rule("R16")
def test_an_approver_of_another_level_is_refused_and_told_where_things_stand() -> None:
    refusal = refused(pending(), Approve(DAVE))
    assert refusal.reason is RefusalReason.NOT_ELIGIBLE
    assert "level 1" in refusal.message
    assert "level 2" in refusal.message
    at_level_two = done(pending(), Approve(BOB))
    outsider = fresh(actor("erin", "dev"), T0)
    assert why(at_level_two, Approve(outsider)) is RefusalReason.NOT_ELIGIBLE
    earlier = done(pending(Level((user("bob"), user("carol"))), Level((user("dave"),))), Approve(BOB))
    assert why(earlier, Approve(CAROL)) is RefusalReason.NOT_ELIGIBLE
    assert why(earlier, Deny(CAROL)) is RefusalReason.NOT_ELIGIBLE


@pytest.mark.rule("R17")
@pytest.mark.parametrize("order", list(itertools.permutations([BOB, CAROL, DAVE])))
def test_an_approval_never_overshoots(order: tuple[object, ...]) -> None:
    request, outcomes = pending(TWO_OF_THREE), []
    for who in order:
        outcome = transition(request, Approve(who), T0)  # type: ignore[arg-type]  # permutations lose the type
        outcomes.append(outcome)
        request = outcome.request if isinstance(outcome, Transition) else request
    assert request.status is Status.APPROVED
    assert len(request.approvals) == 2
    assert getattr(outcomes[2], "reason", None) is RefusalReason.WRONG_STATUS


@pytest.mark.rule("R17")
def test_one_person_in_two_groups_counts_once_in_a_level() -> None:
    level = Level((group("sre"), group("security"), user("carol")), needed=2)
    once = done(pending(level), Approve(CAROL))
    assert why(once, Approve(CAROL)) is RefusalReason.ALREADY_APPROVED
    assert once.approvals[0].through == user("carol")
    assert done(once, Approve(BOB)).status is Status.APPROVED


@pytest.mark.rule("R17")
def test_one_person_in_two_groups_fills_one_level_of_a_request() -> None:
    levels = (Level((group("sre"),)), Level((group("security"),)))
    once = done(pending(*levels), Approve(CAROL))
    assert why(once, Approve(CAROL)) is RefusalReason.ALREADY_APPROVED
    assert done(once, Approve(DAVE)).status is Status.APPROVED


@pytest.mark.rule("R17")
def test_the_policy_may_let_one_person_approve_several_levels() -> None:
    decided = plan(Level((group("sre"),)), Level((group("security"),)), distinct=False)
    once = done(pending(decided=decided), Approve(CAROL))
    assert done(once, Approve(CAROL)).status is Status.APPROVED
    two = plan(Level((group("sre"), group("security")), needed=2), distinct=False)
    assert why(done(pending(decided=two), Approve(CAROL)), Approve(CAROL)) is RefusalReason.ALREADY_APPROVED


@pytest.mark.rule("R17")
def test_two_identities_of_one_person_count_once() -> None:
    level = Level((user("carol"), iam_user("carol-ops"), user("bob")), needed=2)
    once = done(pending(level), Approve(actor("carol", person="p7")))
    other_self = actor("carol-aws", person="p7", iam="carol-ops")
    assert why(once, Approve(other_self)) is RefusalReason.ALREADY_APPROVED
    assert done(once, Approve(BOB)).status is Status.APPROVED


@pytest.mark.rule("R17")
@pytest.mark.parametrize("command", [Approve, Deny])
def test_the_requester_never_counts(command: type[Approve | Deny]) -> None:
    level = Level((user("alice"), group("dev"), iam_user("alice-ops")))
    assert why(pending(level), command(ALICE)) is RefusalReason.OWN_REQUEST
    request = done(None, opening(plan(level), by=actor("alice", person="p1")))
    other_self = actor("alice-aws", person="p1", iam="alice-ops")
    assert why(request, command(other_self)) is RefusalReason.OWN_REQUEST


@pytest.mark.rule("R15")
def test_users_groups_and_iam_users_approve() -> None:
    for entry, who in (
        (user("bob"), BOB),
        (group("sre"), BOB),
        (iam_user("ops"), actor("frank", iam="ops")),
    ):
        request = done(pending(Level((entry,))), Approve(who))
        assert request.status is Status.APPROVED
        assert request.approvals[0].through == entry


@pytest.mark.rule("R15")
def test_a_name_of_one_kind_is_no_name_of_another() -> None:
    assert why(pending(Level((group("bob"),))), Approve(BOB)) is RefusalReason.NOT_ELIGIBLE
    assert why(pending(Level((iam_user("bob"),))), Approve(BOB)) is RefusalReason.NOT_ELIGIBLE
    assert why(pending(Level((user("sre"),))), Approve(BOB)) is RefusalReason.NOT_ELIGIBLE
    assert why(pending(Level((user("ops"),))), Approve(actor("x", iam="ops"))) is RefusalReason.NOT_ELIGIBLE


@pytest.mark.rule("R31")
@pytest.mark.parametrize("command", [Approve, Deny])
def test_a_decision_needs_fresh_membership(command: type[Approve | Deny]) -> None:
    now = T0 + 2 * DAY
    assert why(pending(), command(fresh(BOB, now - DAY - SECOND)), now) is RefusalReason.STALE_MEMBERSHIP
    assert done(pending(), command(fresh(BOB, now - DAY)), now).updated_at == now


@pytest.mark.rule("R31")
def test_the_longest_age_is_an_argument() -> None:
    outcome = transition(pending(), Approve(BOB), T0 + 2 * MINUTE, membership_max_age=MINUTE)
    assert getattr(outcome, "reason", None) is RefusalReason.STALE_MEMBERSHIP


@pytest.mark.rule("R18")
def test_one_denial_ends_the_request_at_any_level() -> None:
    for request, who in ((pending(), CAROL), (done(pending(), Approve(BOB)), DAVE)):
        outcome = carried_out(request, Deny(who, "  not today "))
        ended = outcome.request
        assert (ended.status, ended.end_reason) == (Status.REJECTED, EndReason.DENIED)
        assert ended.end_note == "not today"
        assert [e.kind for e in outcome.events] == [EventKind.REJECTED]
        assert why(ended, Approve(CAROL)) is RefusalReason.WRONG_STATUS


@pytest.mark.rule("R18")
def test_a_denial_by_somebody_else_changes_nothing() -> None:
    request = pending()
    for who in (DAVE, actor("erin"), ROOT):
        assert why(request, Deny(who)) is RefusalReason.NOT_ELIGIBLE
    assert done(request, Approve(BOB)).current_level == 1


@pytest.mark.rule("R18")
def test_who_approved_may_still_deny() -> None:
    once = done(pending(TWO_OF_THREE), Approve(BOB))
    assert done(once, Deny(BOB)).status is Status.REJECTED
    later = done(pending(), Approve(CAROL))
    assert done(later, Deny(CAROL)).status is Status.REJECTED


@pytest.mark.parametrize("comment", ["x" * 257, "a\nb", "\x1b]0;x\x07"])
def test_comments_are_one_plain_line(comment: str) -> None:
    for command in (Approve(BOB, comment), Deny(BOB, comment)):
        assert why(pending(), command) is RefusalReason.INVALID_COMMENT


@pytest.mark.rule("R19")
def test_an_approval_taken_back_makes_the_level_count_again() -> None:
    once = done(pending(TWO_OF_THREE), Approve(BOB))
    outcome = carried_out(once, Withdraw(BOB), T0 + MINUTE)
    assert outcome.request.approvals == ()
    (event,) = outcome.events
    assert (event.kind, event.status) == (EventKind.APPROVAL_WITHDRAWN, Status.PENDING)
    assert event.details == {"approver": "bob", "level": 1, "lapsed": [], "note": ""}
    again = done(done(outcome.request, Approve(CAROL)), Approve(BOB))
    assert again.status is Status.APPROVED


@pytest.mark.rule("R19")
def test_taking_back_from_a_completed_level_falls_back_to_it_and_later_approvals_lapse() -> None:
    levels = (
        Level((user("bob"), user("carol")), needed=2),
        Level((user("dave"), user("erin")), needed=2),
    )
    request = pending(*levels)
    for who in (BOB, CAROL, DAVE):
        request = done(request, Approve(who))
    assert request.current_level == 1
    outcome = carried_out(request, Withdraw(CAROL))
    assert (outcome.request.current_level, approvers(outcome.request)) == (0, ["bob"])
    assert outcome.events[0].details == {"approver": "carol", "level": 1, "lapsed": ["dave"], "note": ""}
    assert why(outcome.request, Approve(DAVE)) is RefusalReason.NOT_ELIGIBLE


@pytest.mark.rule("R19")
def test_only_the_own_approval_can_be_taken_back() -> None:
    once = done(pending(TWO_OF_THREE), Approve(BOB))
    assert why(once, Withdraw(CAROL)) is RefusalReason.NOTHING_TO_WITHDRAW
    assert why(once, Withdraw(ALICE, "bob")) is RefusalReason.NOT_ELIGIBLE
    assert why(once, Withdraw(ROOT, "carol")) is RefusalReason.NOTHING_TO_WITHDRAW
    for nobody_approved in (Withdraw(BOB), Withdraw(ROOT)):
        assert why(pending(), nobody_approved) is RefusalReason.NOTHING_TO_WITHDRAW


@pytest.mark.rule("R19")
def test_an_administrator_takes_any_approval_back() -> None:
    once = done(pending(TWO_OF_THREE), Approve(BOB))
    outcome = carried_out(once, Withdraw(ROOT, "bob"))
    assert outcome.request.approvals == ()
    assert (outcome.events[0].actor, outcome.events[0].details["approver"]) == ("root", "bob")


@pytest.mark.rule("R19")
def test_an_administrator_who_names_nobody_takes_back_all() -> None:
    levels = (Level((user("bob"), user("carol")), needed=2), Level((user("dave"),)), Level((user("erin"),)))
    request = pending(*levels)
    for who in (BOB, CAROL, DAVE):
        request = done(request, Approve(who))
    outcome = carried_out(request, Withdraw(ROOT, comment="the ticket is gone"))
    assert (outcome.request.status, outcome.request.current_level) == (Status.PENDING, 0)
    assert outcome.request.approvals == ()
    told = {"approver": "bob, carol, dave", "level": 1, "lapsed": [], "note": "the ticket is gone"}
    assert outcome.events[0].details == told
    # Who is an approver and an administrator speaks for oneself first.
    both = replace(BOB, is_administrator=True)
    assert approvers(done(request, Withdraw(both))) == ["carol"]


@pytest.mark.rule("R19")
def test_a_comment_goes_with_what_is_taken_back_and_is_one_plain_line() -> None:
    once = done(pending(TWO_OF_THREE), Approve(BOB))
    assert carried_out(once, Withdraw(BOB, comment=" wrong node ")).events[0].details["note"] == "wrong node"
    assert why(once, Withdraw(BOB, comment="two\nlines")) is RefusalReason.INVALID_COMMENT


@pytest.mark.rule("R19")
def test_taking_back_needs_no_fresh_membership_nor_the_seat() -> None:
    once = done(pending(Level((group("sre"), group("dev")), needed=2)), Approve(BOB))
    without_group = actor("bob", at=T0 - 9 * DAY)
    assert done(once, Withdraw(without_group), T0 + DAY).approvals == ()


def test_one_person_with_approvals_of_several_levels_takes_all_back() -> None:
    decided = plan(Level((group("sre"),)), Level((group("sre"), group("security")), needed=2), distinct=False)
    request = done(done(pending(decided=decided), Approve(CAROL)), Approve(CAROL))
    assert len(request.approvals) == 2
    assert done(request, Withdraw(CAROL)).approvals == ()

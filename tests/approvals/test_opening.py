import pytest

from approvals.commands import Approve
from approvals.model import Approver, ApproverKind, EndReason, Failure, Level, PolicyRef, Status
from approvals.outcomes import EventKind, RefusalReason
from approvals.window import is_open, next_deadline
from tests.approvals.builders import (
    ALICE,
    AUTO,
    BOB,
    DAY,
    HOUR,
    NO_POLICY,
    SECOND,
    T0,
    actor,
    carried_out,
    done,
    group,
    opening,
    plan,
    refused,
    user,
    why,
)


@pytest.mark.rule("R29")
def test_a_request_that_waits_tells_who_when_from_where_and_under_which_version() -> None:
    outcome = carried_out(None, opening(plan(), reason="  disk full \n", hours=2))
    (event,) = outcome.events
    assert (event.kind, event.status) == (EventKind.OPENED, Status.PENDING)
    assert (event.actor, event.source_address, event.at) == ("alice", "192.0.2.7", T0)
    assert event.policy == PolicyRef("web", 2)
    assert event.details["reason"] == outcome.request.reason == "disk full"


@pytest.mark.rule("R7")
@pytest.mark.parametrize("hours", [None, 1, 2, 336])
def test_an_auto_approval_opens_exactly_one_hour_at_once(hours: int | None) -> None:
    outcome = carried_out(None, opening(AUTO, hours=hours))
    request = outcome.request
    assert request.status is Status.APPROVED
    assert (request.window_start, request.window_end) == (T0, T0 + HOUR)
    assert is_open(request, T0 + HOUR - SECOND)
    assert [e.kind for e in outcome.events] == [EventKind.APPROVED]


@pytest.mark.rule("R7")
def test_an_auto_approved_window_is_over_at_its_hour_and_takes_no_approval() -> None:
    request = done(None, opening(AUTO))
    assert not is_open(request, T0 + HOUR)
    assert why(request, Approve(BOB)) is RefusalReason.WRONG_STATUS


@pytest.mark.rule("R11")
def test_a_request_that_no_policy_wants_is_kept_as_failed_and_says_so() -> None:
    outcome = carried_out(None, opening(NO_POLICY))
    request, (event,) = outcome.request, outcome.events
    assert (request.status, request.end_reason) == (Status.FAILED, EndReason.NO_POLICY)
    assert (request.ended_at, request.policy, next_deadline(request)) == (T0, None, None)
    assert request.end_note == NO_POLICY.explanation
    assert event.kind is EventKind.FAILED
    assert event.details["failure"] == {"looked_at": ["web"]}


@pytest.mark.rule("R9")
def test_a_conflict_fails_with_its_details() -> None:
    conflict = Failure(EndReason.POLICY_CONFLICT, "web and db both match.", {"policies": ["web", "db"]})
    outcome = carried_out(None, opening(conflict))
    assert outcome.request.end_reason is EndReason.POLICY_CONFLICT
    assert outcome.events[0].details["failure"] == {"policies": ["web", "db"]}


@pytest.mark.rule("R4")
def test_where_access_is_disabled_a_request_fails() -> None:
    request = done(None, opening(Failure(EndReason.DISABLED, "Access is disabled in default.")))
    assert (request.status, request.end_reason) == (Status.FAILED, EndReason.DISABLED)
    assert not is_open(request, T0)


def test_only_what_the_table_names_fails_an_opening() -> None:
    with pytest.raises(ValueError, match="NODE_LOCKED"):
        Failure(EndReason.NODE_LOCKED, "")


@pytest.mark.rule("R23")
@pytest.mark.parametrize("reason", ["x", "x" * 256, "  padded  ", "schaltet größer um 🚒", "a" + " " * 300])
def test_reasons_that_are_taken(reason: str) -> None:
    assert done(None, opening(AUTO, reason=reason)).reason == reason.strip()


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    "reason",
    [
        "",
        "   \n\t ",
        "x" * 257,
        "two\nlines",
        "tab\there",
        "nul\x00",
        "esc\x1b[2J",
        "del\x7f",
        "c1\x9b",
        "line\u2028sep",
        "paragraph\u2029sep",
        "reads \u202eesrever",
        "lone \ud800",
        "\u200b\u200b",
        "x" * 1_000_000,
    ],
)
def test_reasons_that_are_refused(reason: str) -> None:
    for decided in (AUTO, plan(), NO_POLICY):
        refusal = refused(None, opening(decided, reason=reason))
        assert refusal.reason is RefusalReason.INVALID_REASON
        assert len(refusal.message) < 200


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    "request_id",
    ["", "oi-0123456789a", "oi-0123456789abc", "oi-0123456789AB", "io-0123456789ab", "oi-0123456789ab\n"],
)
def test_ids_that_are_refused(request_id: str) -> None:
    assert why(None, opening(AUTO, name=request_id)) is RefusalReason.INVALID_ID


@pytest.mark.rule("R21")
@pytest.mark.parametrize("hours", [0, -1, 337, 10**9])
def test_hours_that_are_refused(hours: int) -> None:
    assert why(None, opening(plan(), hours=hours)) is RefusalReason.INVALID_HOURS


@pytest.mark.rule("R31")
def test_a_request_on_stale_membership_is_refused_before_anything_is_kept() -> None:
    on_the_brink = actor("alice", at=T0 - DAY)
    assert done(None, opening(AUTO, by=on_the_brink)).status is Status.APPROVED
    stale = actor("alice", at=T0 - DAY - SECOND)
    for decided in (AUTO, plan(), NO_POLICY):
        assert why(None, opening(decided, by=stale)) is RefusalReason.STALE_MEMBERSHIP


def test_a_membership_from_the_future_is_not_believed() -> None:
    assert why(None, opening(AUTO, by=actor("alice", at=T0 + HOUR))) is RefusalReason.STALE_MEMBERSHIP
    assert done(None, opening(AUTO, by=actor("alice", at=T0 + SECOND))).status is Status.APPROVED


@pytest.mark.rule("R15")
def test_plans_within_the_limits() -> None:
    assert plan(*[Level((group("sre"),) * 5, needed=9)] * 5, hours=336).levels
    assert plan(Level((user("bob"), Approver(ApproverKind.IAM_USER, "ops")), needed=2), hours=1).levels


@pytest.mark.rule("R15")
def test_plans_beyond_the_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 5 levels"):
        plan(*[Level((user("bob"),))] * 6)
    with pytest.raises(ValueError, match="1 to 5 approvers"):
        Level(())
    with pytest.raises(ValueError, match="1 to 5 approvers"):
        Level((user("bob"),) * 6)
    with pytest.raises(ValueError, match="at least 1"):
        Level((user("bob"),), needed=0)
    with pytest.raises(ValueError, match="336"):
        plan(hours=337)
    with pytest.raises(ValueError, match="336"):
        plan(hours=0)
    with pytest.raises(ValueError, match="timeout"):
        plan(timeout=0 * DAY)


@pytest.mark.rule("R17")
def test_a_level_that_nobody_could_ever_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="never give 2"):
        Level((user("bob"), user("bob")), needed=2)


def test_the_requester_is_kept_as_a_person() -> None:
    request = done(None, opening(plan(), by=actor("alice", person="p1")))
    assert (request.requester.user_id, request.requester.person_id) == ("alice", "p1")
    assert ALICE.person.is_same(request.requester)

"""When access is granted, to the second."""

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.commands import Approve, SessionStarted, Tick, Withdraw
from approvals.model import EndReason, Level, Status, WindowStarts
from approvals.outcomes import EventKind, RefusalReason
from approvals.window import is_open, next_deadline
from tests.approvals.builders import (
    ALICE,
    AUTO,
    BOB,
    CAROL,
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    actor,
    approved,
    carried_out,
    done,
    fresh,
    in_status,
    opening,
    pending,
    plan,
    user,
    why,
)

INSTANT = timedelta(microseconds=1)
ONE = Level((user("bob"),))
ON_FIRST_SESSION = plan(ONE, starts=WindowStarts.FIRST_SESSION)


@pytest.mark.rule("R21")
@pytest.mark.parametrize(("hours", "length"), [(None, 4), (1, 1), (4, 4), (5, 4), (336, 4)])
def test_hours_only_shorten(hours: int | None, length: int) -> None:
    request = approved(hours=hours)
    assert (request.window_start, request.window_end) == (T0, T0 + length * HOUR)


@pytest.mark.rule("R21")
def test_the_window_counts_from_the_last_approval() -> None:
    request = done(pending(ONE), Approve(BOB), T0 + 5 * HOUR)
    assert request.window_end == T0 + 9 * HOUR


@pytest.mark.rule("R21")
def test_the_end_itself_is_outside() -> None:
    request = approved()
    end = next_deadline(request)
    assert end == T0 + 4 * HOUR
    assert is_open(request, T0)
    assert is_open(request, end - INSTANT)
    assert not is_open(request, end)
    assert why(request, Tick(), end - INSTANT) is RefusalReason.NOT_DUE
    assert done(request, Tick(), end).status is Status.EXPIRED


@pytest.mark.rule("R21")
@pytest.mark.parametrize("status", [s for s in Status if s is not Status.APPROVED])
def test_nothing_else_is_open(status: Status) -> None:
    assert not is_open(in_status(status), T0)
    assert not is_open(replace(approved(), status=status), T0)


def test_a_clock_far_before_the_approval_opens_nothing() -> None:
    request = approved()
    assert is_open(request, T0 - MINUTE)
    assert not is_open(request, T0 - MINUTE - INSTANT)


@pytest.mark.rule("R21")
def test_a_first_session_within_a_day_starts_the_window() -> None:
    request = approved(ON_FIRST_SESSION)
    assert (request.window_end, next_deadline(request)) == (None, T0 + DAY)
    brink = T0 + DAY - INSTANT
    assert is_open(request, brink)
    outcome = carried_out(request, SessionStarted(fresh(ALICE, brink)), brink)
    started = outcome.request
    assert (started.window_start, started.window_end) == (brink, brink + 4 * HOUR)
    assert [e.kind for e in outcome.events] == [EventKind.WINDOW_STARTED]
    assert is_open(started, brink + 4 * HOUR - INSTANT)
    assert not is_open(started, brink + 4 * HOUR)


@pytest.mark.rule("R21")
def test_without_a_first_session_the_window_is_lost() -> None:
    request = approved(ON_FIRST_SESSION)
    late = T0 + DAY
    assert not is_open(request, late)
    assert why(request, SessionStarted(fresh(ALICE, late)), late) is RefusalReason.TOO_LATE
    ended = done(request, Tick(), late + HOUR)
    assert (ended.status, ended.end_reason) == (Status.EXPIRED, EndReason.NO_FIRST_SESSION)
    assert (ended.ended_at, ended.updated_at) == (late, late + HOUR)


@pytest.mark.rule("R24")
@pytest.mark.parametrize("starts", WindowStarts)
def test_further_sessions_never_move_the_end(starts: WindowStarts) -> None:
    request = done(approved(plan(ONE, starts=starts)), SessionStarted(ALICE))
    end = request.window_end
    for minutes in (1, 60, 239):
        outcome = carried_out(request, SessionStarted(ALICE), T0 + minutes * MINUTE)
        assert outcome.events == ()
        assert outcome.request == request
    assert end == T0 + 4 * HOUR
    assert why(request, SessionStarted(ALICE), T0 + 4 * HOUR) is RefusalReason.TOO_LATE


@pytest.mark.rule("R24")
def test_only_the_requester_starts_sessions() -> None:
    request = done(None, opening(AUTO, by=actor("alice", person="p1")))
    for who in (BOB, actor("alice-2", person="p1"), actor("root", admin=True)):
        assert why(request, SessionStarted(who)) is RefusalReason.NOT_REQUESTER


@pytest.mark.rule("R31")
def test_a_session_on_stale_membership_is_refused() -> None:
    request = approved(plan(ONE, hours=48))
    assert why(request, SessionStarted(ALICE), T0 + DAY + SECOND) is RefusalReason.STALE_MEMBERSHIP
    assert carried_out(request, SessionStarted(ALICE), T0 + DAY).request == request


@pytest.mark.rule("R21")
def test_a_pending_request_times_out_by_the_policy() -> None:
    request = pending(decided=plan(timeout=2 * HOUR))
    assert next_deadline(request) == T0 + 2 * HOUR
    assert why(request, Approve(BOB), T0 + 2 * HOUR) is RefusalReason.TOO_LATE
    outcome = carried_out(request, Tick(), T0 + 3 * HOUR)
    ended = outcome.request
    assert (ended.status, ended.end_reason) == (Status.TIMED_OUT, EndReason.NOT_DECIDED_IN_TIME)
    assert ended.ended_at == T0 + 2 * HOUR
    assert (outcome.events[0].kind, outcome.events[0].actor) == (EventKind.TIMED_OUT, None)
    assert next_deadline(ended) is None


def test_approvals_and_withdrawals_dont_move_the_time_to_decide() -> None:
    request = done(done(pending(), Approve(BOB), T0 + HOUR), Withdraw(BOB), T0 + 2 * HOUR)
    assert next_deadline(request) == T0 + 7 * DAY


def test_a_clock_that_goes_back_doesnt_turn_the_story_round() -> None:
    request = done(pending(Level((user("bob"), user("carol")), needed=2)), Approve(BOB), T0 + HOUR)
    outcome = carried_out(request, Approve(fresh(CAROL, T0 + HOUR)), T0)
    assert outcome.request.approved_at == T0 + HOUR
    assert {e.at for e in outcome.events} == {T0 + HOUR}

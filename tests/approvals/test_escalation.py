"""Who may decide when nobody did for a while, and who has to sign in for it."""

from dataclasses import replace
from datetime import datetime

import pytest

from approvals.commands import Approve, Deny, Withdraw
from approvals.eligibility import asked, escalates_at
from approvals.model import Actor, Level, Request, Status
from approvals.outcomes import RefusalReason
from tests.approvals.builders import (
    BOB,
    CAROL,
    DAVE,
    HOUR,
    MINUTE,
    ROOT,
    SECOND,
    T0,
    done,
    fresh,
    group,
    pending,
    refused,
    user,
    why,
)

ESCALATING = Level((user("bob"),), escalate_after=4 * HOUR, escalate_to=(group("security"),))
STRICT = Level((user("bob"), user("carol")), needed=2, sign_in_within=5 * MINUTE)


def level_of(request: Request) -> Level:
    assert request.current_level is not None
    return request.plan.levels[request.current_level]  # type: ignore[union-attr]  # builders make no other plan


def signed_in(who: Actor, at: datetime) -> Actor:
    return replace(who, signed_in_at=at, membership_checked_at=at)


@pytest.mark.rule("R22")
@pytest.mark.parametrize("command", [Approve, Deny])
def test_others_may_decide_once_a_level_escalates_and_not_before(command: type[Approve | Deny]) -> None:
    request = pending(ESCALATING)
    assert escalates_at(request, ESCALATING) == T0 + 4 * HOUR
    early = refused(request, command(DAVE), T0 + 4 * HOUR - SECOND)
    assert early.reason is RefusalReason.NOT_ELIGIBLE
    assert "before 2027-03-01T13:00:00" in early.message
    assert "user bob" in early.what_to_do
    assert done(request, command(DAVE), T0 + 4 * HOUR).status.is_final is (command is Deny)


@pytest.mark.rule("R22")
def test_those_who_were_asked_first_may_still_decide() -> None:
    late = T0 + 5 * HOUR
    request = pending(ESCALATING)
    assert asked(request, ESCALATING, late) == (user("bob"), group("security"))
    assert done(request, Approve(fresh(BOB, late)), late).status is Status.APPROVED
    assert why(request, Approve(fresh(ROOT, late)), late) is RefusalReason.NOT_ELIGIBLE


@pytest.mark.rule("R22")
def test_a_later_level_escalates_by_its_own_beginning_and_anew_after_a_withdrawal() -> None:
    request = pending(Level((user("carol"),)), ESCALATING)
    assert escalates_at(request, level_of(request)) is None
    begun = T0 + 3 * HOUR
    request = done(request, Approve(CAROL), begun)
    assert escalates_at(request, level_of(request)) == begun + 4 * HOUR
    assert why(request, Approve(DAVE), begun + 4 * HOUR - SECOND) is RefusalReason.NOT_ELIGIBLE
    request = done(request, Withdraw(CAROL), begun + HOUR)
    request = done(request, Approve(CAROL), begun + 2 * HOUR)
    assert why(request, Approve(DAVE), begun + 4 * HOUR) is RefusalReason.NOT_ELIGIBLE
    assert done(request, Approve(DAVE), begun + 6 * HOUR).status is Status.APPROVED


@pytest.mark.parametrize("command", [Approve, Deny])
def test_a_level_can_want_a_fresh_sign_in(command: type[Approve | Deny]) -> None:
    request, now = pending(STRICT), T0 + HOUR
    for at in (None, now - 5 * MINUTE - SECOND, now + 2 * MINUTE):
        old = refused(request, command(replace(BOB, signed_in_at=at)), now)
        assert old.reason is RefusalReason.STEP_UP_NEEDED
        assert "5 minutes" in old.message
        assert old.what_to_do.startswith("Sign in again, then repeat it: jit login. ")
    for at in (now - 5 * MINUTE, now, now + SECOND):
        done(request, command(signed_in(BOB, at)), now)


def test_taking_back_wants_no_fresh_sign_in_and_strangers_learn_nothing_of_it() -> None:
    request = done(pending(STRICT), Approve(signed_in(BOB, T0)))
    assert done(request, Withdraw(BOB), T0 + HOUR).approvals == ()
    assert why(request, Approve(DAVE), T0 + HOUR) is RefusalReason.NOT_ELIGIBLE


@pytest.mark.parametrize(
    "wrong",
    [
        {"escalate_after": HOUR},
        {"escalate_to": (user("dave"),)},
        {"escalate_after": 0 * HOUR, "escalate_to": (user("dave"),)},
        {"escalate_after": HOUR, "escalate_to": tuple(user(f"u{n}") for n in range(6))},
        {"sign_in_within": -MINUTE},
    ],
)
def test_levels_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(Level((user("bob"),)), **wrong)  # type: ignore[arg-type]  # that is what is tried

"""Every status met by every command: what the life table grants, and that all else is refused by name."""

from dataclasses import fields, replace

import pytest

from approvals.commands import (
    Approve,
    Cancel,
    Command,
    Deny,
    GiveBack,
    Open,
    Reevaluate,
    Revoke,
    SessionStarted,
    SystemRevoke,
    Tick,
    Withdraw,
)
from approvals.model import EndReason, Request, Status
from approvals.outcomes import Refusal, RefusalReason, Transition
from approvals.service import transition
from tests.approvals.builders import (
    ALICE,
    AUTO,
    BOB,
    DAY,
    HOUR,
    SECOND,
    T0,
    done,
    fresh,
    in_status,
    opening,
    pending,
    plan,
)

MOMENT = T0 + HOUR
COMMANDS: dict[str, Command] = {
    "open": opening(plan(), by=fresh(ALICE, MOMENT)),
    "approve": Approve(fresh(BOB, MOMENT)),
    "deny": Deny(fresh(BOB, MOMENT)),
    "withdraw": Withdraw(BOB),
    "cancel": Cancel(ALICE),
    "revoke": Revoke(BOB),
    "give back": GiveBack(ALICE),
    "time": Tick(),
    "system": SystemRevoke(EndReason.NODE_LOCKED),
    "re-evaluate": Reevaluate(AUTO),
    "session": SessionStarted(fresh(ALICE, MOMENT)),
}
GRANTED: dict[tuple[Status | None, str], Status] = {
    (None, "open"): Status.PENDING,
    (Status.PENDING, "approve"): Status.PENDING,
    (Status.PENDING, "deny"): Status.REJECTED,
    (Status.PENDING, "withdraw"): Status.PENDING,
    (Status.PENDING, "cancel"): Status.CANCELLED,
    (Status.PENDING, "time"): Status.TIMED_OUT,
    (Status.PENDING, "system"): Status.FAILED,
    (Status.PENDING, "re-evaluate"): Status.FAILED,
    (Status.APPROVED, "revoke"): Status.REVOKED,
    (Status.APPROVED, "give back"): Status.RETURNED,
    (Status.APPROVED, "time"): Status.EXPIRED,
    (Status.APPROVED, "system"): Status.REVOKED,
    (Status.APPROVED, "re-evaluate"): Status.APPROVED,  # approved by hand: tags don't matter any more
    (Status.APPROVED, "session"): Status.APPROVED,
}
PAIRS = [(status, name) for status in (None, *Status) for name in COMMANDS]


def start(status: Status | None, command: str) -> Request | None:
    if status is None:
        return None
    if (status, command) == (Status.PENDING, "withdraw"):
        return done(in_status(status), Approve(BOB))
    return in_status(status)


@pytest.mark.rule("R20")
@pytest.mark.parametrize(("status", "name"), PAIRS, ids=lambda v: str(v or "none"))
def test_each_command_in_each_status(status: Status | None, name: str) -> None:
    request = start(status, name)
    now = T0 + 30 * DAY if name == "time" else MOMENT
    outcome = transition(request, COMMANDS[name], now)
    if (status, name) in GRANTED:
        assert isinstance(outcome, Transition), outcome
        assert outcome.request.status is GRANTED[status, name]
        return
    assert isinstance(outcome, Refusal)
    assert outcome.message
    assert outcome.what_to_do
    if status is None:
        assert outcome.reason is RefusalReason.NOT_FOUND
    elif name == "open":
        assert outcome.reason is RefusalReason.ALREADY_OPEN
    else:
        assert outcome.reason is RefusalReason.WRONG_STATUS
        assert status.value in outcome.message


@pytest.mark.parametrize("status", Status)
def test_end_fields_are_set_exactly_in_final_statuses(status: Status) -> None:
    request = in_status(status)
    assert request.status is status
    assert (request.ended_at is not None) is (request.end_reason is not None) is status.is_final


def test_the_table_knows_every_command() -> None:
    assert {type(c) for c in COMMANDS.values()} == set(Command.__args__)
    assert {f.name for f in fields(Open)} >= {"request_id", "reason", "plan", "hours"}


def test_a_deadline_that_has_passed_lets_only_time_act() -> None:
    for request, late in ((pending(), T0 + 7 * DAY), (in_status(Status.APPROVED), T0 + 4 * HOUR)):
        for name in ("approve", "deny", "withdraw", "cancel", "revoke", "give back", "system", "session"):
            outcome = transition(request, COMMANDS[name], late)
            assert isinstance(outcome, Refusal)
            assert outcome.reason is RefusalReason.TOO_LATE
        assert isinstance(transition(request, Tick(), late), Transition)


def test_time_before_its_time_is_refused() -> None:
    for request, soon in ((pending(), T0 + 7 * DAY), (in_status(Status.APPROVED), T0 + 4 * HOUR)):
        outcome = transition(request, Tick(), soon - SECOND)
        assert isinstance(outcome, Refusal)
        assert outcome.reason is RefusalReason.NOT_DUE


def test_a_naive_time_and_a_damaged_record_are_errors() -> None:
    with pytest.raises(ValueError, match="time zone"):
        transition(None, opening(plan()), T0.replace(tzinfo=None))
    damaged = replace(in_status(Status.APPROVED), status=Status.PENDING)
    with pytest.raises(ValueError, match="damaged"):
        transition(damaged, Approve(BOB), T0)

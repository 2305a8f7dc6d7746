import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.codec import (
    approvals_from_json,
    approvals_to_json,
    event_to_json,
    plan_from_json,
    plan_to_json,
)
from approvals.commands import Approve
from approvals.model import Level, Plan, WindowStarts
from tests.approvals.builders import (
    AUTO,
    BOB,
    DAVE,
    HOUR,
    NO_POLICY,
    SECOND,
    approved,
    carried_out,
    done,
    group,
    opening,
    pending,
    plan,
    user,
)

BROKEN: tuple[Any, ...] = (None, 2, "x", [[]])
PLANS: list[Plan] = [
    AUTO,
    NO_POLICY,
    plan(),
    plan(hours=336, starts=WindowStarts.FIRST_SESSION, distinct=False, timeout=90 * SECOND),
    replace(plan(Level((user("bob"),), 1, HOUR, (user("carol"), group("sre")), 5 * SECOND)), remind_every=HOUR),
]


@pytest.mark.parametrize("decided", PLANS)
def test_a_plan_comes_back_as_it_was(decided: Plan) -> None:
    assert plan_from_json(json.loads(json.dumps(plan_to_json(decided)))) == decided


def test_approvals_come_back_as_they_were() -> None:
    request = approved(plan())
    stored = json.loads(json.dumps(approvals_to_json(request.approvals)))
    assert approvals_from_json(stored) == request.approvals
    assert approvals_from_json([]) == ()


@pytest.mark.parametrize("decided", PLANS)
def test_a_damaged_plan_is_refused(decided: Plan) -> None:
    stored = plan_to_json(decided)
    fields = {"form", "kind", "policy", "reason", "details", "levels", "access_seconds", "window_starts"}
    for field in fields & set(stored):
        for value in BROKEN:
            with pytest.raises(ValueError, match=r"."):
                plan_from_json({**stored, field: value})
        without = {k: v for k, v in stored.items() if k != field}
        with pytest.raises(ValueError, match="damaged"):
            plan_from_json(without)


@pytest.mark.parametrize("change", [{"form": 2}, {"at": "soon"}, {"through": None}, {"at": 7}])
def test_a_damaged_approval_is_refused(change: dict[str, Any]) -> None:
    (stored,) = approvals_to_json(approved().approvals)
    with pytest.raises(ValueError, match=r"."):
        approvals_from_json([{**stored, **change}])


@pytest.mark.rule("R29")
def test_every_event_is_json() -> None:
    first = carried_out(None, opening(plan()))
    second = carried_out(first.request, Approve(BOB, "ok"))
    third = carried_out(second.request, Approve(DAVE))
    failed = carried_out(None, opening(NO_POLICY))
    for event in (*first.events, *second.events, *third.events, *failed.events):
        written = json.loads(json.dumps(event_to_json(event)))
        assert written["kind"] == event.kind.value
        assert written["status"] == event.status.value
        assert written["at"] == event.at.isoformat()
    assert event_to_json(first.events[0])["policy"] == {"name": "web", "version": 2}
    assert event_to_json(failed.events[0])["policy"] is None


@settings(max_examples=100, database=None, deadline=None)
@given(st.dictionaries(st.sampled_from(["form", "kind", "policy"]), st.none() | st.integers() | st.text()))
def test_no_junk_is_a_plan(junk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        plan_from_json(junk)


def test_a_pending_request_keeps_its_plan() -> None:
    request = pending()
    assert plan_from_json(plan_to_json(request.plan)) == done(request, Approve(BOB)).plan

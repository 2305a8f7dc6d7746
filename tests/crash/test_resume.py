"""A few kills and cuts in the normal suite; `python -m tests.crash resume` makes a hundred of each."""

import secrets
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.crash.resume.incidents import Kind, plan
from tests.crash.resume.run import Outcome, run
from tests.crash.resume.verdict import difference
from tests.crash.resume.world import resume_world


@pytest.mark.rule("R27")
@pytest.mark.alone
@pytest.mark.slow
def test_shells_survive_the_gateway_and_the_network(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    outcomes: list[Outcome] = []
    with resume_world(tmp_path) as world:
        result = run(world, shells=3, kills=2, cuts=2, random=Random(seed), tell=outcomes.append)
    assert result.is_well, (seed, result, outcomes)
    # However slow the machine: after each incident that was waited for, every shell printed more and took more.
    waited_for = [outcome for outcome in outcomes if outcome.back is not None]
    assert len(outcomes) == 4 and waited_for and all(outcome.alive == 3 for outcome in outcomes)
    seen = [0, *(outcome.seen for outcome in waited_for)]
    assert all(before < after for before, after in pairwise(seen))
    assert all(verdict.printed and verdict.typed > len(waited_for) for verdict in result.verdicts)


def test_what_is_lost_and_what_is_repeated_is_told_apart() -> None:
    assert difference(b"1\n2\n3\n", b"1\n2\n3\n") == ([], [])
    assert difference(b"1\n2\n3\n", b"1\n3\n3\n") == ([b"2\n"], [b"3\n"])
    assert difference(b"1\n2\n3\n", b"1\n2\n") == ([b"3\n"], [])


def test_a_plan_has_as_many_of_each_as_was_asked_for_and_is_the_same_again() -> None:
    incidents = list(plan(30, 50, Random(1)))
    assert sum(incident.kind is Kind.KILL for incident in incidents) == 30 and len(incidents) == 80
    assert {incident.kind for incident in incidents} == set(Kind)
    assert incidents == list(plan(30, 50, Random(1))) != list(plan(30, 50, Random(2)))
    assert incidents[-1].is_waited_for

"""Each fault once in the normal suite; `python -m tests.crash faults` prints the table of many runs."""

from __future__ import annotations

import secrets
from pathlib import Path
from random import Random

import pytest

from tests.crash import faults_command
from tests.crash.faults.outcome import Fault, Outcome, Where
from tests.crash.faults.table import FAULTS

pytestmark = pytest.mark.rule("R27")


@pytest.mark.parametrize("fault", [each for each in FAULTS if each.quick], ids=lambda each: each.name)
@pytest.mark.usefixtures("aws_environment")
def test_nothing_that_was_passed_on_is_lost(fault: Fault, moto: str, tmp_path: Path) -> None:
    """`kill -9` of the gateway has its test in test_crash.py."""
    seed = secrets.randbits(32)
    total = Outcome()
    for outcome in fault.play(Where(tmp_path, moto), Random(seed), fault.quick):
        total.add(outcome)
    print(f"{fault.name}: {total.lost} of {total.delivered} bytes lost")
    assert fault.is_well(total), (seed, total)
    assert total.delivered


def test_the_command_says_which_faults_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        faults_command.main(["--only", "an earthquake"])
    said = capsys.readouterr().err
    assert "there is no an earthquake" in said
    assert faults_command.main(["1", "--only", "the clock steps back"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 rows passed" in said


def test_a_row_fails_by_a_byte_by_a_problem_and_by_nothing_verified() -> None:
    fault = FAULTS[-1]
    assert fault.is_well(Outcome(5, 0, recordings=1, verified=1))
    assert not fault.is_well(Outcome(5, 1, recordings=1, verified=1))
    assert not fault.is_well(Outcome(5, 0, recordings=1, verified=0))
    assert not fault.is_well(Outcome(5, 0))
    assert not fault.is_well(Outcome(5, 0, recordings=1, verified=1, problems=["said otherwise"]))

"""A handful of kills in the normal suite; `python -m tests.crash` makes a hundred."""

import secrets
from pathlib import Path
from random import Random

import pytest

from tests.crash.kills import crash_stage, kill_once

pytestmark = pytest.mark.alone


@pytest.mark.rule("R27")
def test_nothing_that_a_client_saw_is_missing_after_kill_9(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    with crash_stage(tmp_path) as on:
        kills = [kill_once(on, number, random) for random in [Random(seed)] for number in range(1, 6)]
    print(f"kill -9: {sum(kill.missing for kill in kills)} of {sum(kill.seen for kill in kills)} bytes lost")
    assert [kill for kill in kills if not kill.is_well] == [], f"seed {seed}"
    assert sum(kill.seen for kill in kills) > 100_000
    assert sum(kill.recordings for kill in kills) >= 15

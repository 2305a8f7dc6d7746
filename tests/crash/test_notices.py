"""A few requests' notices under kill -9 in the normal suite; `python -m tests.crash notices` makes a thousand."""

from pathlib import Path

import pytest

from tests.crash.notices.run import run, scene

pytestmark = pytest.mark.alone


@pytest.mark.rule("R30")
def test_nobody_is_left_untold_after_kill_9(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        outcome = run(at, 10, most_kills=2)
    assert outcome.kills >= 1
    assert outcome.is_well, outcome
    assert [each.expected for each in outcome.channels] == [30, 15, 10, 5, 10]

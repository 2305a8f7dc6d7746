from datetime import UTC, datetime, timedelta

import pytest

from gateway.sessions.limits import Limits
from gateway.sessions.model import End, Ending

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def limits(
    *, window: float = 3600, maximum: float | None = None, idle: float | None = None, steady: float = 0.0
) -> Limits:
    return Limits(
        window_end=NOON + timedelta(seconds=window),
        maximum=None if maximum is None else timedelta(seconds=maximum),
        idle=None if idle is None else timedelta(seconds=idle),
        now=NOON,
        steady=steady,
    )


def look(made: Limits, passed: float, *, jumped: float = 0.0, active: float | None = None) -> Ending | str | None:
    """After so many seconds, with a clock that was set ahead by `jumped`."""
    now = NOON + timedelta(seconds=passed + jumped)
    return made.look(now, passed, passed if active is None else active)


@pytest.mark.rule("R25")
def test_warnings_come_once_each_and_then_the_end() -> None:
    made = limits()
    told = [(second, said) for second in range(3601) if (said := look(made, second))]
    assert [second for second, _ in told] == [3300, 3540, 3600]
    first, second, end = (said for _, said in told)
    assert isinstance(first, str) and "in 5 minutes" in first and "13:00:00 UTC" in first
    assert isinstance(second, str) and "in 1 minute," in second
    assert isinstance(end, Ending) and end.end is End.WINDOW_ENDED


@pytest.mark.rule("R25")
def test_nothing_ends_before_its_time() -> None:
    made = limits(window=7200, maximum=3600, idle=600)
    assert all(look(made, second) is None for second in range(3300))


def test_a_warning_that_is_late_says_how_late() -> None:
    made = limits()
    assert look(made, 0) is None
    said = look(made, 3570)
    assert isinstance(said, str) and "30 seconds" in said
    assert look(made, 3571) is None


def test_a_short_session_is_not_warned_of_what_it_was_told_at_its_start() -> None:
    made = limits(window=200)
    told = [second for second in range(200) if look(made, second)]
    assert told == [140]
    assert not [second for second in range(30) if look(limits(window=30), second)]


@pytest.mark.rule("R26")
def test_the_maximum_duration_counts_from_the_start() -> None:
    made = limits(maximum=60)
    assert look(made, 59.9) is None
    end = look(made, 60)
    assert isinstance(end, Ending) and end.end is End.MAXIMUM_DURATION
    assert "maximum duration of 1 minute" in end.message


@pytest.mark.rule("R26")
def test_idle_counts_from_the_last_byte() -> None:
    made = limits(idle=60)
    assert look(made, 100, active=41) is None
    end = look(made, 101, active=41)
    assert isinstance(end, Ending) and end.end is End.IDLE
    assert look(limits(), 3000, active=0) is None  # no timeout, no end


@pytest.mark.rule("R25")
def test_a_clock_that_is_set_back_gives_nobody_more_time() -> None:
    made = limits(window=600, maximum=900)
    assert look(made, 299, jumped=-86_400) is None
    end = look(made, 600, jumped=-86_400)
    assert isinstance(end, Ending) and end.end is End.WINDOW_ENDED
    assert isinstance(look(limits(maximum=900), 900, jumped=-86_400), Ending)


@pytest.mark.rule("R25")
def test_a_clock_that_is_set_ahead_ends_the_window() -> None:
    made = limits(window=600)
    end = look(made, 1, jumped=600)
    assert isinstance(end, Ending) and end.end is End.WINDOW_ENDED
    # Durations are no business of the wall clock.
    assert look(limits(window=1e6, maximum=600, idle=60), 1, jumped=600) is None


def test_a_window_that_moves_takes_its_warnings_along() -> None:
    made = limits(window=600)
    assert isinstance(look(made, 300), str)
    made.window(NOON + timedelta(seconds=1200), NOON + timedelta(seconds=310), 310)
    assert look(made, 899) is None
    assert isinstance(look(made, 900), str)
    made.window(NOON + timedelta(seconds=950), NOON + timedelta(seconds=910), 910)
    assert isinstance(look(made, 950), Ending)

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from approvals.commands import Tick
from approvals.model import Status
from approvals.retention import purgeable_at
from tests.approvals.builders import DAY, HOUR, T0, approved, done, in_status


@pytest.mark.rule("R28")
@pytest.mark.parametrize("status", [s for s in Status if s.is_final])
def test_a_year_counts_from_the_end(status: Status) -> None:
    request = in_status(status)
    assert request.ended_at is not None
    assert purgeable_at(request) == request.ended_at.replace(year=2028)
    assert purgeable_at(request, 1000 * DAY) == request.ended_at + 1000 * DAY


@pytest.mark.rule("R28")
def test_what_lives_is_never_purged_and_a_year_is_the_least() -> None:
    assert purgeable_at(in_status(Status.PENDING)) is None
    assert purgeable_at(in_status(Status.APPROVED)) is None
    for short in (timedelta(days=365) - timedelta(seconds=1), timedelta(0), timedelta(days=-1)):
        with pytest.raises(ValueError, match="365"):
            purgeable_at(in_status(Status.FAILED), short)


@pytest.mark.rule("R28")
def test_a_leap_day_does_not_shorten_the_year() -> None:
    ended = done(approved(), Tick(), T0 + 4 * HOUR)
    assert purgeable_at(ended) == datetime(2028, 3, 1, 13, 0, tzinfo=UTC)  # 366 days
    on_leap_day = replace(ended, ended_at=datetime(2028, 2, 29, 13, 0, tzinfo=UTC))
    assert purgeable_at(on_leap_day) == datetime(2029, 3, 1, 13, 0, tzinfo=UTC)

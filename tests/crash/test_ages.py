"""What the row of the power cut takes for late."""

from __future__ import annotations

from tests.crash.faults.ages import Passed, Sync, longest_overdue

BUSY = [Passed(number / 1000, number, 7, number) for number in range(200)]
"""A chunk each millisecond, each a byte."""


def late_by(*syncs: Sync, passed: list[Passed] = BUSY, cut: float = 0.2) -> int:
    """In milliseconds."""
    return round(longest_overdue(passed, syncs, cut) * 1000)


def test_who_is_synced_within_50_ms_is_in_time_and_others_are_late_by_the_rest() -> None:
    every_40 = [Sync(7, n, n / 1000, n / 1000, n / 1000) for n in range(40, 200, 40)]
    assert late_by(*every_40) == -10
    assert late_by(*every_40[1::2]) == 30
    assert late_by(*every_40[:2]) == 69  # nothing from 81 ms on until the cut
    assert late_by(*(Sync(8, n.size, n.wanted, n.began, n.ended) for n in every_40)) == 150  # of another journal


def test_a_slow_disk_and_a_slow_thread_are_nobodys_fault() -> None:
    slow = Sync(7, 45, 0.04, 0.045, 0.15)
    assert late_by(slow, Sync(7, 155, 0.151, 0.155, 0.156)) <= 1
    assert late_by(slow) > 1  # after that nothing was synced


def test_a_loop_that_was_kept_waiting_is_not_late() -> None:
    stood = [chunk for chunk in BUSY if not 0.02 < chunk.at < 0.15]
    assert late_by(Sync(7, 199, 0.15, 0.15, 0.151), passed=stood, cut=0.16) < 0

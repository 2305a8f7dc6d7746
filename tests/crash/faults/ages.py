"""How long what was passed on waited for its sync, by a clock that stands still while the writer's loop does.

Whoever kept the loop waiting (the machine, the reader of its output) or a disk that took its time is no fault of
the writer: so it is told from what the writer noted, and not from how long it all took.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

PROMISED_SECONDS = 0.05
"""What docs/operator.md promises, on a disk that can do that."""
MARGIN_SECONDS = 0.02
"""For the few turns of a busy loop until a round begins. An interval of 100 ms is far above both."""
_TURN_SECONDS = 0.005
"""A loop that passes on nothing for longer was kept waiting."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A chunk was passed on at that moment, output up to `end`; its journal has it in its first `size` bytes."""

    at: float
    end: int
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """Of the first `size` bytes of a journal: `wanted` by the loop, then begun by a thread.

    One that was in flight at the cut ended there.
    """

    inode: int
    size: int
    wanted: float
    began: float
    ended: float


def longest_overdue(passed: Sequence[Passed], syncs: Sequence[Sync], cut: float) -> float:
    """Seconds by which the sync of some chunk was wanted too late; negative: all came in time.

    A chunk that came while a sync was under way waits for the end of that, if it takes longer than the promise.
    """
    clock = _Clock([chunk.at for chunk in passed])
    return max(
        clock(_wanted(chunk, syncs, cut)) - clock(chunk.at) - max(PROMISED_SECONDS, _under_way(chunk, syncs))
        for chunk in passed
        if chunk.at < cut
    )


def _wanted(chunk: Passed, syncs: Sequence[Sync], cut: float) -> float:
    """When the first sync was wanted that had it; without one, the cut."""
    of_it = (sync for sync in syncs if sync.inode == chunk.inode and sync.size >= chunk.size)
    return min((sync.wanted for sync in of_it if sync.began >= chunk.at), default=cut)


def _under_way(chunk: Passed, syncs: Sequence[Sync]) -> float:
    return max((sync.ended - chunk.at for sync in syncs if sync.began <= chunk.at <= sync.ended), default=0.0)


class _Clock:
    """Goes on with what the loop noted, and no further than one turn without a note."""

    def __init__(self, notes: Sequence[float]) -> None:
        self._notes = notes
        self._told = [0.0]
        for before, after in pairwise(notes):
            self._told.append(self._told[-1] + min(after - before, _TURN_SECONDS))

    def __call__(self, moment: float) -> float:
        last = max(0, bisect_right(self._notes, moment) - 1)
        return self._told[last] + min(moment - self._notes[last], _TURN_SECONDS)

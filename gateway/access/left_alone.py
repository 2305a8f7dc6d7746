"""Records that can't be worked on, and are left alone for longer each time that they were tried."""

from collections.abc import Callable
from dataclasses import dataclass

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 600.0
# They are named in queries. More than that are tried, and told of, every time.
MOST = 1_000


@dataclass(frozen=True, slots=True)
class _Failed:
    wait: float
    until: float


class LeftAlone:
    """Kept in memory only: after a restart everything is tried once. Seconds are of a clock that only goes on."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failed: dict[str, _Failed] = {}

    def now(self) -> frozenset[str]:
        """The ids of the records whose time has not come yet."""
        passed = self._monotonic()
        return frozenset(record_id for record_id, failed in self._failed.items() if passed < failed.until)

    def failed(self, record_id: str) -> float:
        """Leaves the record alone; for how many seconds."""
        before = self._failed.get(record_id)
        wait = FIRST_SECONDS if before is None else min(2 * before.wait, LONGEST_SECONDS)
        if before is not None or len(self._failed) < MOST:
            self._failed[record_id] = _Failed(wait, self._monotonic() + wait)
        return wait

    def succeeded(self, record_id: str) -> None:
        self._failed.pop(record_id, None)

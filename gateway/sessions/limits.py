"""When a session ends by itself: its window, its maximum duration, its idle timeout. Values only, no clock."""

import math
from datetime import datetime, timedelta
from typing import Final

from gateway.sessions.model import End, Ending

WARNINGS: Final = (60.0, 300.0)
"""Seconds before a planned end at which the user is told (R25)."""


class Limits:
    """The planned ends of one session.

    Durations run on the steady clock. The window's end is a time of day, and is also counted down on the steady
    clock from when it was last set: whichever comes first ends the session, so that a clock that is set back
    gives nobody more time. A byte in either direction counts as activity: a build that prints is not idle, and
    a screen that nobody looks at ends with its window or its maximum duration at the latest.
    """

    __slots__ = ("_idle", "_maximum", "_maximum_at", "_warned", "_window_at", "_window_end")

    def __init__(
        self,
        *,
        window_end: datetime,
        maximum: timedelta | None,
        idle: timedelta | None,
        now: datetime,
        steady: float,
    ) -> None:
        """`now` and `steady` (seconds) are the same moment on both clocks: the session's start."""
        self._maximum = maximum
        self._maximum_at = None if maximum is None else steady + maximum.total_seconds()
        self._idle = None if idle is None else idle.total_seconds()
        self._window_end = window_end
        self._window_at = steady + (window_end - now).total_seconds()
        self._warned = _threshold(self._left(now, steady)[0])

    def window(self, end: datetime, now: datetime, steady: float) -> None:
        """The window's end, read anew."""
        if end != self._window_end:
            self._window_end = end
            self._window_at = steady + (end - now).total_seconds()

    def look(self, now: datetime, steady: float, active_at: float) -> Ending | str | None:
        """The end that is due, a warning that is due, or nothing. `active_at`: when bytes last went."""
        left, end = self._left(now, steady)
        if left <= 0:
            return Ending(end, f"This session ended: it reached {self._because(end)}.")
        if self._idle is not None and steady - active_at >= self._idle:
            return Ending(End.IDLE, f"This session ended: nothing happened in it for {span(self._idle)}.")
        threshold = _threshold(left)
        warned, self._warned = self._warned, threshold
        if threshold is None or (warned is not None and warned <= threshold):
            return None
        return f"This session ends in {span(left)}, at {self._because(end)}."

    def _left(self, now: datetime, steady: float) -> tuple[float, End]:
        """Seconds until the planned end, and which it is."""
        left = min((self._window_end - now).total_seconds(), self._window_at - steady)
        if self._maximum_at is not None and self._maximum_at - steady < left:
            return self._maximum_at - steady, End.MAXIMUM_DURATION
        return left, End.WINDOW_ENDED

    def _because(self, end: End) -> str:
        if end is End.MAXIMUM_DURATION and self._maximum is not None:
            return f"the maximum duration of {span(self._maximum.total_seconds())}"
        return f"the end of the access window ({self._window_end:%Y-%m-%d %H:%M:%S} UTC)"


def _threshold(left: float) -> float | None:
    return next((seconds for seconds in WARNINGS if left <= seconds), None)


def span(seconds: float) -> str:
    """`90` -> "90 seconds", `300` -> "5 minutes"; what is not whole is rounded up."""
    whole = math.ceil(seconds)
    amount, unit = (whole, "second") if whole < 120 and whole != 60 else (math.ceil(whole / 60), "minute")
    return f"{amount} {unit}{'' if amount == 1 else 's'}"

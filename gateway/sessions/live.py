"""Sessions that this process holds, and what they are made of."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.nodes.ports import ResumableUpstream
from gateway.session_logs.service import SessionLogs
from gateway.sessions import story
from gateway.sessions.ending import LastEntries
from gateway.sessions.flow import Budget, Recorded
from gateway.sessions.limits import Limits
from gateway.sessions.model import Session
from gateway.sessions.opening import Reached
from gateway.sessions.ports import UNRECORDED
from gateway.sessions.relay import Relay, Steady
from gateway.sessions.resumable import ResumableRelay
from gateway.store.preferences import Preferences, RecordingMode
from recorder.recording import Recording
from recorder.session_log.log import SessionLog


@dataclass(frozen=True, slots=True, eq=False)
class LiveSession:
    """A session that this process holds. `recording` is None where a `best_effort` one could not begin.

    `log` tells its output while it runs, None: nobody wants that.
    """

    session: Session
    relay: Relay
    limits: Limits
    recording: Recording | None
    log: SessionLog | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AdoptedSession(LiveSession):
    """One that an earlier process began."""

    relay: ResumableRelay
    recording: Recording


class LiveSessions:
    """Makes them."""

    def __init__(
        self,
        last_entries: LastEntries,
        *,
        clock: Callable[[], datetime],
        steady: Steady = time.monotonic,
        budget: Budget | None = None,
        logs: SessionLogs | None = None,
    ) -> None:
        self._last_entries = last_entries
        self._clock = clock
        self._steady = steady
        self._budget = budget or Budget()
        self._logs = logs

    def begin(
        self, session: Session, wanted: Preferences, window_end: datetime, reached: Reached, credit: int
    ) -> LiveSession:
        """A new one, whose node was reached; `credit` is the output that the client can take."""
        journal = reached.recording or UNRECORDED
        upstream = reached.upstream
        log = self._log(session, wanted)
        options = self._options(session, wanted, log)
        relay: Relay
        if session.grace_seconds and isinstance(upstream, ResumableUpstream) and upstream.grace_seconds:
            grace = upstream.grace_seconds
            relay = ResumableRelay(upstream, journal, grace_seconds=grace, credit=credit, **options)
        else:
            relay = Relay(upstream, journal, credit=credit, **options)
        maximum = _minutes(wanted.maximum_duration_minutes)
        limits = self._limits(session, wanted, window_end, maximum)
        return LiveSession(session, relay, limits, reached.recording, log)

    def go_on(
        self, session: Session, wanted: Preferences, window_end: datetime, recording: Recording
    ) -> AdoptedSession:
        """One of an earlier process, with neither client nor node."""
        recorded = Recorded(
            main=recording.recorded_output,
            errors=recording.recorded_stderr,
            input=recording.recorded_input,
            input_ended=recording.input_ended,
            exited=recording.exited,
        )
        log = self._log(session, wanted, resumed=True)
        relay = ResumableRelay(
            None,
            recording,
            grace_seconds=session.grace_seconds,
            credit=0,
            recorded=recorded,
            **self._options(session, wanted, log),
        )
        # Preferences may have changed since: the end that it was given at its start is the one that counts.
        maximum = session.ends_at - session.started_at if session.ends_at < window_end else None
        limits = self._limits(session, wanted, window_end, maximum)
        return AdoptedSession(session, relay, limits, recording, log)

    def _log(self, session: Session, wanted: Preferences, *, resumed: bool = False) -> SessionLog | None:
        return None if self._logs is None else self._logs.begin(session, wanted, resumed=resumed)

    def _options(self, session: Session, wanted: Preferences, log: SessionLog | None) -> dict[str, Any]:
        def unrecorded(reason: str) -> None:
            event = story.unrecorded(session, reason, self._clock())
            self._last_entries.later(self._last_entries.tell(event))

        return {
            "budget": self._budget,
            "steady": self._steady,
            "strict": wanted.recording is RecordingMode.STRICT,
            "unrecorded": unrecorded,
            "log": None if log is None else log.output,
        }

    def _limits(
        self, session: Session, wanted: Preferences, window_end: datetime, maximum: timedelta | None
    ) -> Limits:
        # What opening took counts, too; a clock that was set back meanwhile gives no more time.
        taken = max(0.0, (self._clock() - session.started_at).total_seconds())
        return Limits(
            window_end=window_end,
            maximum=maximum,
            idle=_minutes(wanted.idle_timeout_minutes),
            now=session.started_at,
            steady=self._steady() - taken,
        )


def _minutes(minutes: int) -> timedelta | None:
    return timedelta(minutes=minutes) if minutes else None

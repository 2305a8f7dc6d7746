"""One watch over all live sessions of the process (R25): what must end, ends within a second."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.admission import Gate
from gateway.sessions.live import LiveSession
from gateway.sessions.model import End, Ending, Session
from gateway.sessions.reasons import ending_of, terminated
from gateway.sessions.relay import Steady
from gateway.store import requests, sessions
from gateway.store.changes import Changes
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.sessions")

POLL_SECONDS: Final = 0.5
"""How long a change that nobody told this process of can go unseen."""
TICK_SECONDS: Final = 0.25
"""How late a planned end can come."""
STALE_SECONDS: Final = 5.0
"""A gateway that has not seen for so long whether access still holds ends its sessions."""
_SPACING_SECONDS: Final = 0.05
_STANDSTILL_SECONDS: Final = 1.0


class Watch:
    """Wakes up when requests or sessions change, and looks at the database twice a second even so."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        clock: Callable[[], datetime],
        changes: Changes,
        *,
        replica: str,
        steady: Steady = time.monotonic,
    ) -> None:
        self._database = database
        self._gate = gate
        self._clock = clock
        self._changes = changes
        self.replica = replica
        self._steady = steady
        self._live: dict[str, LiveSession] = {}
        self._seen_at = self._ticked_at = steady()

    @property
    def live(self) -> tuple[LiveSession, ...]:
        return tuple(self._live.values())

    def enter(self, live: LiveSession) -> None:
        """From now on the session ends when it has to. Its row must be committed."""
        if not self._live:
            self._seen_at = self._steady()
        self._live[live.session.id] = live

    def leave(self, session_id: str) -> None:
        self._live.pop(session_id, None)

    async def run(self) -> None:
        """Runs until it is cancelled. Time passes even while the database does not answer."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._pass_time())
            loops.create_task(self._follow_changes())

    async def _pass_time(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def _follow_changes(self) -> None:
        with self._changes.subscribe("sessions") as changed:
            while True:
                changed.clear()
                if self._live:
                    try:
                        async with asyncio.timeout(STALE_SECONDS):
                            await self.look()
                    except Exception:  # noqa: BLE001 - logged; a watch that dies would let sessions go on
                        _log.exception("watch.blind")
                await asyncio.sleep(_SPACING_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS - _SPACING_SECONDS):
                        await changed.wait()

    def tick(self) -> None:
        """Ends what is due by time, warns where an end comes near. A few microseconds a session."""
        now, steady = self._clock(), self._steady()
        if steady - self._ticked_at > _STANDSTILL_SECONDS:
            # The whole process stood still, not the database: it gets its chance to look first.
            self._seen_at += steady - self._ticked_at
        self._ticked_at = steady
        is_stale = steady - self._seen_at > STALE_SECONDS
        for live in self.live:
            relay = live.relay
            if is_stale:
                message = "This session ended: the gateway cannot see any more whether the access still holds."
                relay.end(Ending(End.GATEWAY_STOPPED, message))
            elif (failure := relay.journal.failure) is not None:
                relay.recording_failed(failure)
            relay.pass_time()
            match live.limits.look(now, steady, relay.active_at):
                case Ending() as ending:
                    relay.end(ending)
                case str(warning):
                    relay.notice(warning, "warning")

    async def look(self) -> None:
        """Reads once what all live sessions rest on, and ends those that rest on nothing any more."""
        started = self._steady()
        judged = self.live
        async with self._database.read() as connection:
            standings = await sessions.standings(connection, self.replica)
            for live in judged:
                ending = await self._judge(connection, live, standings.get(live.session.id))
                if ending is not None:
                    live.relay.end(ending)
        self._seen_at = max(self._seen_at, started)

    async def _judge(
        self, connection: AsyncConnection, live: LiveSession, standing: sessions.Standing | None
    ) -> Ending | None:
        if live.relay.is_cut:
            return None
        ending = await self.why_over(connection, live.session, standing)
        if ending is None and standing is not None and standing.window_end is not None:
            live.limits.window(standing.window_end, self._clock(), self._steady())
        return ending

    async def why_over(
        self, connection: AsyncConnection, session: Session, standing: sessions.Standing | None
    ) -> Ending | None:
        """How a session ends that rests on this; None while it may go on."""
        if standing is None:
            return Ending(End.TERMINATED, "This session ended: the gateway's records say that it is over.")
        if standing.terminated_by:
            return terminated(standing.terminated_by, standing.terminate_reason)
        if standing.window_end is None or standing.is_locked:
            return await self.why(connection, session.request_id)
        return None

    async def why(self, connection: AsyncConnection, request_id: str) -> Ending | None:
        """How sessions of a request end, in words; None while they may go on."""
        reason = await self._gate.still_open(connection, request_id, self._clock())
        if reason is None:
            return None
        request = await requests.get(connection, request_id)
        if request is None or request.life.end_reason is not reason:
            return ending_of(reason)
        story = await requests.story(connection, request_id)
        return ending_of(reason, story[-1].actor_id if story else "", request.life.end_note)

"""Sessions of a gateway that died or was stopped: their nodes keep them, and this process goes on with them (R25).

What the database says counts, never what a node says: a session whose access ended meanwhile is ended, and so is
one that no node brings back within its grace.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Refused
from gateway.nodes.errors import NodeUnreachable
from gateway.nodes.ports import ResumingConnector
from gateway.sessions.ending import LastEntries
from gateway.sessions.keeping import Keeping
from gateway.sessions.limits import span
from gateway.sessions.live import AdoptedSession, LiveSessions
from gateway.sessions.model import End, Ending, Session
from gateway.sessions.relay import Steady
from gateway.sessions.resumable import ResumableRelay
from gateway.sessions.watch import Watch
from gateway.store import nodes, preferences, recording_heads, sessions
from gateway.store.database import Database
from recorder.errors import RecordingFailed
from recorder.recording import Recording
from recorder.service import Recorder

_log = structlog.get_logger("jitgate.sessions")

LOOK_SECONDS: Final = 0.5
"""How long access can have ended before a session that is not back yet is over."""
_AT_ONCE: Final = 16
_CATCH_UP_LOOKS: Final = 250
_AGAIN_SECONDS: Final = 2.0
"""After a node that is there did not answer: it may only be busy."""


@dataclass(slots=True, eq=False)
class _Expected:
    """A session that is not back yet.

    `recording` once that can go on, `live` once it does; `is_named` once its node said that it has it; not tried
    before `again_at`, in the process's steady time.
    """

    session: Session
    recording: Recording | None = None
    live: AdoptedSession | None = None
    is_named: bool = False
    again_at: float = 0.0
    adopting: asyncio.Task[None] | None = None


class Adoption:
    """It is what connectors call `Holders`."""

    def __init__(
        self,
        database: Database,
        watch: Watch,
        recorder: Recorder,
        connectors: Mapping[str, ResumingConnector],
        *,
        last_entries: LastEntries,
        live_sessions: LiveSessions,
        keeping: Keeping,
        clock: Callable[[], datetime],
        steady: Steady = time.monotonic,
    ) -> None:
        """`connectors`: those whose nodes can keep sessions, by the name that nodes are registered with."""
        self._database = database
        self._watch = watch
        self._recorder = recorder
        self._connectors = connectors
        self._last_entries = last_entries
        self._live_sessions = live_sessions
        self._keeping = keeping
        self._clock = clock
        self._steady = steady
        self._expected: dict[str, _Expected] = {}
        self._since = steady()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._is_stopping = False

    async def expect(self) -> frozenset[str]:
        """Which sessions may come back; call it before the recorder starts, and have that hold them."""
        async with self._database.read() as connection:
            left = await sessions.without_end(connection, self._watch.replica)
        self._since = self._steady()
        for session in left:
            if session.grace_seconds:
                self._expected[session.id] = _Expected(session)
                self._keeping.expect(session.id)
        return frozenset(self._expected)

    async def run(self) -> None:
        """Ends what does not come back, or may not. Returns once nothing is expected any more."""
        while self._expected:
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - logged; the next look may work again
                _log.exception("adoption.blind")
            await asyncio.sleep(LOOK_SECONDS)

    async def held(self, node_id: str, session_ids: Sequence[str]) -> None:
        """See nodes.ports.Holders."""
        strange = []
        for session_id in () if self._is_stopping else session_ids:
            expected = self._expected.get(session_id)
            if expected is not None and expected.session.node_id == node_id:
                expected.is_named = True
                self._begin_adopting(expected)
            else:
                strange.append(session_id)
        for session_id in strange:
            async with self._database.read() as connection:
                session = await sessions.get(connection, session_id)
                node = await nodes.get(connection, node_id)
            is_ours = session is not None and session.node_id == node_id
            if self._is_stopping:
                return  # what this process has let go of is the next one's
            if is_ours and session is not None and session.ended_at is None and self._is_elsewhere(session):
                continue  # another gateway's, which may be there again before the grace is over
            if node is not None and (connector := self._connectors.get(node.connector)) is not None:
                connector.end(node_id, session_id)

    async def stop(self) -> None:
        """What is not back yet is left to the next start, and so is what nodes name from now on."""
        self._is_stopping = True
        for expected in tuple(self._expected.values()):
            if expected.adopting is not None:
                expected.adopting.cancel()
                await asyncio.wait((expected.adopting,))
            if self._expected.pop(expected.session.id, None) is None:
                continue  # it ended meanwhile
            if expected.live is None and expected.recording is not None:
                expected.recording.suspend()
            if (live := expected.live) is not None:
                self._watch.leave(live.session.id)
                live.relay.leave()
                live.recording.suspend()
            self._keeping.settle(expected.session.id)

    def _is_elsewhere(self, session: Session) -> bool:
        return session.replica != self._watch.replica

    async def _look(self) -> None:
        async with self._database.read() as connection:
            standings = await sessions.standings(connection, self._watch.replica)
            for expected in tuple(self._expected.values()):
                ending = await self._why_over(connection, expected, standings.get(expected.session.id))
                if ending is not None:
                    self._end(expected, ending)
                elif expected.is_named and expected.again_at <= self._steady():
                    self._begin_adopting(expected)

    async def _why_over(
        self, connection: AsyncConnection, expected: _Expected, standing: sessions.Standing | None
    ) -> Ending | None:
        session, now = expected.session, self._clock()
        if expected.live is not None and expected.live.relay.is_cut:
            return expected.live.relay.ending
        ending = await self._watch.why_over(connection, session, standing)
        if ending is not None:
            return ending
        if standing is not None and standing.window_end is not None and standing.window_end <= now:
            return await self._watch.why(connection, session.request_id)
        if session.ends_at <= now:
            return Ending(End.MAXIMUM_DURATION, "This session ended: it reached its maximum duration.")
        if self._steady() - self._since >= session.grace_seconds:
            away = span(session.grace_seconds)
            return Ending(End.NODE_GONE, f"The gateway was away, and the node did not come back within {away}.")
        return None

    def _begin_adopting(self, expected: _Expected) -> None:
        if expected.adopting is None or expected.adopting.done():
            expected.adopting = asyncio.create_task(self._try_adopting(expected))

    async def _try_adopting(self, expected: _Expected) -> None:
        async with self._slots:
            try:
                await self._adopt(expected)
            except Exception:  # noqa: BLE001 - logged; it is tried again until the grace is over
                _log.exception("adoption.failed", session=expected.session.id)

    async def _adopt(self, expected: _Expected) -> None:
        session = expected.session
        async with self._database.read() as connection:
            standings = await sessions.standings(connection, self._watch.replica)
            standing = standings.get(session.id)
            ending = await self._why_over(connection, expected, standing)
            wanted = await preferences.get(connection, session.account, session.region)
            node = await nodes.get(connection, session.node_id)
        if ending is not None or standing is None or standing.window_end is None or node is None:
            self._end(expected, ending or Ending(End.REVOKED, "This session ended: the access is over."))
            return
        if expected.live is None:
            try:
                recording = await self._resumed(expected)
            except RecordingFailed as failure:
                if (
                    expected.recording is None and session.id not in self._recorder.held
                ):  # else something is away, and may be back soon
                    message = f"This session ended: its recording cannot go on: {failure}"
                    self._end(expected, Ending(End.RECORDING_FAILED, message))
                return
            if session.id not in self._expected:
                return  # it ended meanwhile, and its recording with it
            expected.live = self._live_sessions.go_on(session, wanted, standing.window_end, recording)
            # From here on the watch ends it; what changed before is found at its next look.
            self._watch.enter(expected.live)
        relay = expected.live.relay
        try:
            upstream = await self._connectors[node.connector].adopt(
                node,
                session.id,
                recorded=relay.recorded.output,
                # What was typed last may be in no recording when its spool is lost: the node knows.
                recorded_input=None if expected.live.recording.was_lost else relay.recorded.input,
                grace_seconds=session.grace_seconds,
                sink=relay,
            )
        except NodeUnreachable:
            expected.again_at = self._steady() + _AGAIN_SECONDS
            return
        except Refused as refused:
            self._end(expected, Ending(End.NODE_GONE, f"This session could not go on: {refused.message}"))
            return
        relay.adopt(upstream, self._since)
        await _caught_up(relay, upstream.newest)
        if self._expected.pop(session.id, None) is None:
            return  # as above, and the node was let go of
        self._keeping.hold(expected.live, relay)
        self._keeping.settle(session.id)
        relay.wake()

    async def _resumed(self, expected: _Expected) -> Recording:
        """Its recording, going on; by what the store has where its spool is lost. Raises RecordingFailed."""
        session_id = expected.session.id
        if expected.recording is None:
            if session_id not in self._recorder.held:
                async with self._database.read() as connection:
                    head = await recording_heads.get(connection, session_id)
                if head is not None:
                    await self._recorder.take_over(head)
                    _log.warning("adoption.spool_lost", session=session_id)
            expected.recording = await self._recorder.resume(session_id)
        async with self._database.transaction() as tx:
            if not await recording_heads.put(tx.connection, session_id, expected.recording):
                recording, expected.recording = expected.recording, None
                recording.suspend()
                raise RecordingFailed("another gateway goes on with it")
        return expected.recording

    def _end(self, expected: _Expected, ending: Ending) -> None:
        session = expected.session
        if self._expected.pop(session.id, None) is None:
            return
        if expected.live is not None:
            expected.live.relay.end(ending)
            self._keeping.hold(expected.live, expected.live.relay)
            expected.live.relay.wake()
        else:
            self._last_entries.later(self._last_entries.write(session, ending))
            if expected.recording is None:
                self._last_entries.later(self._recorder.give_up(session.id))
            else:  # it goes on already: nobody holds it any more, so nobody else would end it
                self._last_entries.later(self._last_entries.close(expected.recording, ending.end.value))
        self._keeping.settle(session.id)
        for connector in self._connectors.values():
            connector.end(session.node_id, session.id)


async def _caught_up(relay: ResumableRelay, newest: int) -> None:
    """Returns when the recording has what the node said by now, for no client has more; or after a while."""
    for _ in range(_CATCH_UP_LOOKS):
        if relay.recorded.output >= newest or relay.ending is not None:
            return
        await asyncio.sleep(0.02)

"""The life of a session: admitted, reached, asked once more, relayed, ended (R24 to R27)."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.session_logs.service import told_end
from gateway.sessions import story
from gateway.sessions.ending import LastEntries
from gateway.sessions.frames import FrameSink, FrameSource
from gateway.sessions.keeping import Keeping
from gateway.sessions.live import LiveSession, LiveSessions
from gateway.sessions.model import End, Ending, Opening, Resuming
from gateway.sessions.opening import Opener
from gateway.sessions.pump import Pump
from gateway.sessions.reasons import stopping, terminated
from gateway.sessions.relay import Steady
from gateway.sessions.resumable import ResumableRelay
from gateway.sessions.watch import Watch
from gateway.store import events, recording_heads, recordings, sessions
from gateway.store.database import Database

CAPACITY: Final = 4096
"""Sessions that one process takes."""
_CLOSE_SECONDS: Final = 5.0
_STOPPED: Final = Ending(End.GATEWAY_STOPPED, "This session ended: the gateway is being stopped.")
_CLIENT_GONE: Final = "The client went away."


class Lifecycle:
    """Serves sessions, each from its client's first frame to its last entry in the database."""

    def __init__(
        self,
        database: Database,
        opener: Opener,
        watch: Watch,
        last_entries: LastEntries,
        *,
        live_sessions: LiveSessions,
        clock: Callable[[], datetime],
        steady: Steady = time.monotonic,
        capacity: int = CAPACITY,
    ) -> None:
        """`watch.run` must be running while sessions are served."""
        self._database = database
        self._opener = opener
        self._watch = watch
        self._last_entries = last_entries
        self._live_sessions = live_sessions
        self.keeping = Keeping(watch, last_entries, clock=clock, finish=self._finish)
        self._clock = clock
        self._steady = steady
        self._capacity = capacity
        self._calls: set[asyncio.Task[object]] = set()
        self._is_stopping = False

    async def recover(self) -> int:
        """Ends what this replica held when it died, and no node keeps; call it before the first session.

        How many those were.
        """
        return await self._last_entries.write_lost(self._watch.replica)

    async def serve(self, caller: Caller, opening: Opening, source: FrameSource, sink: FrameSink) -> None:
        """One session, to its end. Raises Refused when it may not begin or its client breaks the protocol.

        Cancel it when the client is gone; the session is then ended all the same.
        """
        self._require_running()
        self._require_room()
        with self._call():
            # A client that leaves meanwhile must not tear a transaction or a login apart half way.
            opened = asyncio.create_task(self._open(caller, opening))
            try:
                live = await asyncio.shield(opened)
            except asyncio.CancelledError:
                self._last_entries.later(self._leave_unseen(opened))
                raise
            if isinstance(live.relay, ResumableRelay):
                await self.keeping.hold(live, live.relay).first(source, sink)
                return
            try:
                await Pump(live.relay, source, sink).run()
            finally:
                self._last_entries.later(self._finish(live))

    async def resume(self, caller: Caller, resuming: Resuming, source: FrameSource, sink: FrameSink) -> None:
        """A further call of a session that is kept, until that call ends; the one that had the session ends.

        Raises Refused: GATEWAY_STOPPING, and what `Opener.readmit` and `Keeping.resume` raise.
        """
        self._require_running()
        with self._call():
            session = await self._opener.readmit(caller, resuming)
            await self.keeping.resume(caller, session, resuming, source, sink)

    async def stop(self, seconds: float) -> None:
        """Takes no more sessions, ends those that nobody keeps, and waits so long for their last entries."""
        self._is_stopping = True
        deadline = self._steady() + seconds
        for live in self._watch.live:
            if not self.keeping.leave(live):
                live.relay.end(_STOPPED)
        if self._calls:
            await asyncio.wait(self._calls, timeout=seconds)
        await self._last_entries.finish(deadline - self._steady())

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            yield
        finally:
            self._calls.discard(call)

    def _require_running(self) -> None:
        if self._is_stopping:
            raise stopping()

    def _require_room(self) -> None:
        if len(self._calls) + self.keeping.unattended >= self._capacity:
            raise Refused(
                Kind.RESOURCE_EXHAUSTED,
                "TOO_MANY_SESSIONS",
                f"The gateway holds {self._capacity} sessions and takes no more",
                "End sessions that are not needed, or try again later.",
                retry_after=timedelta(seconds=30),
            )

    async def _open(self, caller: Caller, opening: Opening) -> LiveSession:
        admitted = await self._opener.admit(caller, opening)
        try:
            reached = await self._opener.reach(admitted, opening)
        except BaseException as failure:
            self._last_entries.later(self._last_entries.write(admitted.session, _failed(failure)))
            raise
        window_end = admitted.admission.ends_at
        live = self._live_sessions.begin(
            admitted.session, admitted.preferences, window_end, reached, opening.credit
        )
        # From here on the watch ends it; what changed before is found by asking once more.
        self._watch.enter(live)
        try:
            await self._ask_again(live, reached.problem)
            await reached.upstream.start(live.relay)
        except BaseException as failure:
            ended = live.relay.ending
            live.relay.end(_failed(failure))
            self._last_entries.later(self._finish(live))
            if isinstance(failure, Refused) and ended is not None:
                raise _access_ended(ended) from None
            raise
        live.relay.opened(live.session)
        if reached.problem:
            live.relay.notice(f"This session is not recorded: {reached.problem}", "warning")
        return live

    async def _ask_again(self, live: LiveSession, problem: str) -> None:
        """Whether the access still holds, under the request's lock, before the first byte of the node (R25).

        Raises Refused ACCESS_ENDED.
        """
        session = live.session
        async with self._database.transaction() as tx:
            await sessions.lock_request(tx.connection, session.request_id)
            ending = await self._watch.why(tx.connection, session.request_id)
            stored = await sessions.get(tx.connection, session.id)
            if ending is None and stored is not None and stored.terminated_by:
                ending = terminated(stored.terminated_by, stored.terminate_reason)
            if ending is None and self._is_stopping:
                ending = _STOPPED
            if ending is None and live.recording is not None:
                await recordings.begin(tx.connection, session)
                await recording_heads.put(tx.connection, session.id, live.recording)
            elif ending is None:
                await events.append(tx.connection, story.unrecorded(session, problem, self._clock()))
        if ending is not None:
            live.relay.end(ending)
        if live.relay.ending is not None:
            raise _access_ended(live.relay.ending)

    async def _leave_unseen(self, opened: asyncio.Task[LiveSession]) -> None:
        """The client went away before its session was open."""
        await asyncio.wait((opened,))
        if not opened.cancelled() and opened.exception() is None:
            await self._finish(opened.result())

    async def _finish(self, live: LiveSession) -> None:
        self._watch.leave(live.session.id)
        relay = live.relay
        ending = relay.finish(_CLIENT_GONE)
        if live.log is not None:
            live.log.end(**told_end(ending))
        await self._last_entries.write(live.session, ending)
        if live.recording is not None:
            self._last_entries.later(self._last_entries.close(live.recording, ending.end.value))
        await asyncio.wait_for(relay.upstream.wait_closed(), _CLOSE_SECONDS)


def _access_ended(ending: Ending) -> Refused:
    return Refused(
        Kind.FAILED_PRECONDITION, "ACCESS_ENDED", ending.message, "Make a new request: jit request NODE"
    )


def _failed(failure: BaseException) -> Ending:
    """How a session ends that did not come to its first byte."""
    if not isinstance(failure, Refused):
        return Ending(End.GATEWAY_STOPPED, "The session could not be opened: the gateway failed.")
    end = End.RECORDING_FAILED if failure.reason == "RECORDING_FAILED" else End.NODE_GONE
    return Ending(end, failure.message)

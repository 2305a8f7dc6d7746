"""How a session's end is written down: once, whatever became of the call, and again until it succeeds."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

import structlog
from tenacity import AsyncRetrying, RetryCallState, wait_exponential

from gateway.sessions import story
from gateway.sessions.model import End, Ending, Session
from gateway.store import events, recordings, sessions
from gateway.store.changes import Changes
from gateway.store.database import Database
from recorder.errors import RecordingFailed
from recorder.recording import Recording

_log = structlog.get_logger("jitgate.sessions")

_DIED: Final = Ending(End.GATEWAY_STOPPED, "The gateway died while the session went on.")


class LastEntries:
    """The last entries of sessions, in the database and in their recordings."""

    def __init__(self, database: Database, clock: Callable[[], datetime], changes: Changes) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._tasks: set[asyncio.Task[None]] = set()
        # While somebody writes or waits: what a session came to is told in the order in which it happened.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def write(self, session: Session, ending: Ending) -> None:
        """Tries until the database takes it."""
        at = self._clock()
        async with self._turn(session.id):
            async for attempt in _again_and_again():
                with attempt:
                    await self._write(session, ending, at)

    async def write_lost(self, replica: str) -> int:
        """Ends what a replica held when it died, but for what nodes keep; how many sessions those were."""
        async with self._database.read() as connection:
            left = await sessions.without_end(connection, replica)
        lost = [session for session in left if not session.grace_seconds]
        for session in lost:
            await self._write(session, _DIED, self._clock())
        return len(lost)

    async def tell(self, event: events.Event) -> None:
        """Something happened to a session that changes nothing else. Tries until the database takes it."""
        async with self._turn(event.subject):
            async for attempt in _again_and_again():
                with attempt:
                    async with self._database.transaction() as tx:
                        await events.append(tx.connection, event)

    async def close(self, recording: Recording, reason: str) -> None:
        """Waits for the object store as long as that takes."""
        try:
            await recording.close(reason)
        except RecordingFailed as failure:
            _log.error("recording.failed", session=recording.session.session_id, error=str(failure))

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Does it whatever becomes of the call that asked for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def finish(self, seconds: float) -> None:
        """Waits so long for what is under way; the rest is left to the next start."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            task.cancel()

    def _turn(self, session_id: str) -> asyncio.Lock:
        turn = self._turns.get(session_id)
        if turn is None:
            turn = self._turns[session_id] = asyncio.Lock()
        return turn

    async def _write(self, session: Session, ending: Ending, at: datetime) -> None:
        async with self._database.transaction() as tx:
            if not await sessions.end(tx.connection, session.id, ending, at):
                return
            await recordings.closing(tx.connection, session.id)
            await events.append(tx.connection, story.ended(session, ending, at))
            tx.after_commit(lambda: self._changes.publish(session.id))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("session.last_entry_failed", error=f"{type(failure).__name__}: {failure}")


def _again_and_again() -> AsyncRetrying:
    return AsyncRetrying(wait=wait_exponential(0.05, max=5), before_sleep=_say_retry)


def _say_retry(attempt: RetryCallState) -> None:
    _log.warning("session.entry_unwritten", attempt=attempt.attempt_number)

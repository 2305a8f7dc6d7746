"""What of recordings is not in the store yet: told to the database, shown to people, tried again when they ask."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from opentelemetry import metrics

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.sessions.recordings import RecordingIndex
from gateway.store import events, recordings, uploads
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.uploads import Upload
from jitgate.v1 import annotations_pb2 as declared
from recorder.model import Pending
from recorder.service import Recorder

LOOK_SECONDS: Final = 10.0
_TOPIC: Final = "uploads"
_spool = metrics.get_meter("jitgate.recordings").create_gauge(
    "jitgate.spool", unit="By", description="The spool: bytes used and left, and free on its disk"
)
_pending = metrics.get_meter("jitgate.recordings").create_gauge(
    "jitgate.uploads", description="Recordings of this gateway that wait in the spool, or are in its quarantine"
)
_log = structlog.get_logger("jitgate.recordings")


class Uploads:
    """Looks every ten seconds at what this gateway's spool has; only what changed is written.

    A recording that makes progress while its session goes on is nothing to tell.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        index: RecordingIndex,
        changes: Changes,
        clock: Callable[[], datetime],
        *,
        replica: str,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._index = index
        self._changes = changes
        self._clock = clock
        self._replica = replica
        self._looking = asyncio.Lock()
        self._seen: dict[str, Pending] = {}
        self._told: set[str] = set()
        """Paths of what is in quarantine and in the index."""

    async def run(self) -> None:
        """Runs until it is cancelled."""
        with self._changes.subscribe(_TOPIC) as changed:
            while True:
                changed.clear()
                try:
                    await self._try_again()
                    await self.look()
                except Exception:  # noqa: BLE001 - logged; the next look may work again
                    _log.exception("uploads.blind")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()

    async def look(self) -> None:
        """Tells the database what this gateway's spool has now. Raises OSError, DatabaseUnavailable."""
        async with self._looking:
            pending = await self._recorder.pending()
            waiting = [each for each in pending if each.waiting or not each.is_open]
            stuck = {each.session_id for each in waiting if not each.is_open or self._is_stuck(each)}
            self._seen = {each.session_id: each for each in pending}
            async with self._database.read() as connection:
                known = await uploads.known(connection, self._replica)
            told = stuck | known.keys()
            news = [
                each for each in waiting if each.session_id in told and known.get(each.session_id) != _counts(each)
            ]
            gone = known.keys() - {each.session_id for each in waiting}
            if news or gone:
                async with self._database.transaction() as tx:
                    for each in news:
                        await uploads.report(tx.connection, each, self._replica, self._clock())
                    await uploads.forget(tx.connection, gone)
            aside = await self._tell_of_quarantine()
            self._measure(len(stuck), aside)

    async def find(
        self, caller: Caller, scope: tuple[str, str], limit: int, after: tuple[datetime, str] | None = None
    ) -> tuple[list[Upload], bool]:
        """What waits in the caller's scopes, newest first; and whether there is more."""
        with contextlib.suppress(OSError):  # a spool that is away: what it said last still tells
            await self.look()
        scopes = caller.scopes(declared.PERMISSION_READ_SESSIONS)
        async with self._database.read() as connection:
            found = await uploads.find(connection, scopes, limit + 1, narrowed_to=scope, after=after)
        return found[:limit], len(found) > limit

    async def retry(self, caller: Caller, session_id: str) -> None:
        """Has a recording taken out of quarantine and tried again, by whichever gateway has its spool.

        Raises Refused: RECORDING_NOT_FOUND, NOT_PERMITTED, NOT_QUARANTINED.
        """
        async with self._database.transaction() as tx:
            found = await recordings.get(tx.connection, session_id)
            if found is None or not caller.may(declared.PERMISSION_READ_SESSIONS, found.account, found.region):
                raise Refused(
                    Kind.NOT_FOUND,
                    "RECORDING_NOT_FOUND",
                    f"There is no recording of {session_id} that you can see",
                    "Look at what waits: jit recordings uploads",
                )
            caller.require(declared.PERMISSION_RETRY_UPLOADS, found.account, found.region)
            if not await uploads.want_retry(tx.connection, session_id):
                raise Refused(
                    Kind.FAILED_PRECONDITION,
                    "NOT_QUARANTINED",
                    f"The recording of {session_id} is not in quarantine; what waits is tried again by itself",
                    "Look at what waits: jit recordings uploads",
                )
            event = events.Event(
                type="recording.retried",
                at=self._clock(),
                subject=session_id,
                summary=f"{caller.user.id} had the recording of {found.user_id} on {found.node_name} tried again",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                account=found.account,
                region=found.region,
                details={"reason": found.status_reason},
            )
            await events.append(tx.connection, event)
            tx.after_commit(lambda: self._changes.publish(_TOPIC))

    async def _try_again(self) -> None:
        """What people asked for, as far as it is in this gateway's spool."""
        async with self._database.read() as connection:
            wanted = await uploads.retries(connection)
        for session_id in wanted:
            # Taken out of quarantine first: killed in between, it is tried at the next start, and told once more.
            if await self._recorder.retry(session_id):
                async with self._database.transaction() as tx:
                    await uploads.retried(tx.connection, session_id, self._clock())

    async def _tell_of_quarantine(self) -> int:
        """The index may have been away when it was to hear of it; how many there are."""
        aside = await self._recorder.quarantined()
        for each in aside:
            if each.path not in self._told:
                await self._index.quarantined(each)
        self._told = {each.path for each in aside}
        return len(aside)

    def _is_stuck(self, pending: Pending) -> bool:
        before = self._seen.get(pending.session_id)
        return bool(before and before.waiting and pending.waiting and before.stored == pending.stored)

    def _measure(self, waiting: int, aside: int) -> None:
        room = self._recorder.room
        for part, size in (("used", room.used), ("left", max(0, room.left)), ("disk_free", room.free)):
            _spool.set(size, {"part": part})
        _pending.set(waiting, {"state": "waiting"})
        _pending.set(aside, {"state": "quarantined"})


def _counts(pending: Pending) -> tuple[int, int | None, int]:
    return pending.spool_bytes, pending.stored, pending.waiting

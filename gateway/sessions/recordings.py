"""Keeps the index of recordings true: what the recorder tells about how they end."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from gateway.sessions.model import RecordingStatus
from gateway.store import deletions, recording_heads, recordings, sessions, uploads
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.events import Event, append
from recorder.model import Manifest, Quarantined

_OVER = (RecordingStatus.COMPLETE, RecordingStatus.DELETING, RecordingStatus.DELETED)
_log = structlog.get_logger("jitgate.sessions")


class RecordingIndex:
    """The recorder's observer. What it raises makes the recorder tell again, so everything here can repeat."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        changes: Changes,
        *,
        replica: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._replica = replica

    async def finished(self, manifest: Manifest, file: bytes) -> None:
        """Everything of the session is in the object store."""
        session_id = manifest.session.session_id
        async with self._database.transaction() as tx:
            # Two replicas may finish it at once: the second one waits, and finds it told.
            session = await sessions.get(tx.connection, session_id, for_update=True)
            if session is None:
                _log.error("recording.of_unknown_session", session=session_id, prefix=manifest.prefix)
                return
            known = await recordings.manifest_of(tx.connection, session_id)
            if known == file:
                return
            indexed = await recordings.get(tx.connection, session_id)
            if indexed is not None and indexed.status is RecordingStatus.DELETED:
                await deletions.again(tx.connection, session_id, file, self._clock())
                return
            await recordings.complete(
                tx.connection,
                session,
                manifest=file,
                duration_us=manifest.duration_us,
                output_bytes=manifest.bytes_out + manifest.bytes_stderr,
                input_bytes=manifest.bytes_in,
                stored_bytes=sum(each.size for epoch in manifest.epochs for each in epoch.segments),
                gaps=len(manifest.gaps),
            )
            await uploads.complete(tx.connection, session_id)
            await recording_heads.remove(tx.connection, session_id)
            recovered = " after its gateway had died" if manifest.recovered else ""
            await append(
                tx.connection,
                Event(
                    type="recording.completed",
                    at=self._clock(),
                    subject=session_id,
                    summary=f"The recording of {session.user_id} on {session.node_name} is complete{recovered}",
                    account=session.account,
                    region=session.region,
                    details={"recovered": manifest.recovered, "gaps": len(manifest.gaps)},
                ),
            )
            tx.after_commit(lambda: self._changes.publish(session_id, "recordings"))

    async def quarantined(self, spool: Quarantined) -> None:
        """A recording could not be finished; a person has to look. Told again, it is no news."""
        async with self._database.transaction() as tx:
            session = await sessions.get(tx.connection, spool.session_id)
            if session is None:
                _log.error("recording.of_unknown_session", session=spool.session_id, path=spool.path)
                return
            known = await recordings.get(tx.connection, session.id)
            if known is not None and known.status in _OVER:
                return  # what lies there is left over
            await uploads.set_aside(tx.connection, session.id, self._replica, self._clock())
            if known is not None and known.status is RecordingStatus.QUARANTINED:
                return
            await recordings.quarantine(tx.connection, session, spool.reason)
            await append(
                tx.connection,
                Event(
                    type="recording.quarantined",
                    at=self._clock(),
                    subject=session.id,
                    summary=f"The recording of {session.user_id} on {session.node_name} could not be finished: "
                    f"{spool.reason}",
                    account=session.account,
                    region=session.region,
                    details={"path": spool.path, "reason": spool.reason},
                ),
            )
            tx.after_commit(lambda: self._changes.publish(session.id, "recordings"))

    async def waiting(self, session_id: str, reason: str, again_in: float) -> None:
        """An upload or a key waits for something outside. The first time in a row is an event."""
        _log.warning("recording.waiting", session=session_id, reason=reason, again_in_seconds=round(again_in, 1))
        now = self._clock()
        async with self._database.transaction() as tx:
            await recordings.waiting(tx.connection, session_id, reason)
            session = await sessions.get(tx.connection, session_id)
            if session is None:
                return
            next_try_at = now + timedelta(seconds=again_in)
            if not await uploads.failed(
                tx.connection, session_id, self._replica, failure=reason, now=now, next_try_at=next_try_at
            ):
                return
            await append(
                tx.connection,
                Event(
                    type="recording.upload_failed",
                    at=now,
                    subject=session_id,
                    summary=f"The recording of {session.user_id} on {session.node_name} cannot be uploaded now, "
                    f"and is tried again: {reason}",
                    account=session.account,
                    region=session.region,
                    details={"reason": reason, "replica": self._replica},
                ),
            )

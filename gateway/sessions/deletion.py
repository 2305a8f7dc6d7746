"""Recordings that were kept long enough, or that an administrator wants gone: a tombstone stays (R27).

First the database says that a recording is being deleted, then its objects go, the manifest last, then the
database says that it is deleted. Killed anywhere, any gateway goes on: deleting what is gone is no error.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.believed_clock import BelievedClock
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.sessions.model import RecordingStatus, SessionRecording
from gateway.store import deletions, events, recordings
from gateway.store.changes import Changes
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared
from recorder.errors import DamagedRecording, RecorderError, StoreUnreachable
from recorder.manifest import parse_manifest
from recorder.model import manifest_name, segment_name
from recorder.ports import ObjectStore

LOOK_SECONDS: Final = 10.0
SHORTEST_RETENTION: Final = timedelta(days=365)
_TOPIC: Final = "deletions"
_BATCH: Final = 100
_log = structlog.get_logger("jitgate.recordings")


class Deletions:
    """A worker, and what asks it; any number of replicas run one. `retention` None: nothing gets too old."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        changes: Changes,
        clock: Callable[[], datetime],
        *,
        retention: timedelta | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for a retention of less than a year."""
        if retention is not None and retention < SHORTEST_RETENTION:
            raise ValueError("recordings are kept for at least 365 days")
        self._database = database
        self._store = store
        self._changes = changes
        self._clock = clock
        self._retention = retention
        self._believed = BelievedClock(database, clock, monotonic, worker="deletions")

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        with self._changes.subscribe(_TOPIC) as changed:
            while True:
                changed.clear()
                try:
                    await self.mark_old()
                    await self.sweep()
                except Exception:  # noqa: BLE001 - logged; the next look may work again
                    _log.exception("deletions.failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()

    async def delete(self, caller: Caller, session_id: str, reason: str) -> SessionRecording:
        """Has a complete recording deleted; as it stands now.

        Raises Refused: RECORDING_NOT_FOUND, NOT_COMPLETE, BEING_DELETED, RECORDING_DELETED.
        """
        async with self._database.transaction() as tx:
            found = await recordings.get(tx.connection, session_id)
            allowed = declared.PERMISSION_DELETE_RECORDINGS
            if found is None or not caller.may(allowed, found.account, found.region):
                raise Refused(
                    Kind.NOT_FOUND,
                    "RECORDING_NOT_FOUND",
                    f"There is no recording of {session_id} that you may delete",
                    "Deleting is for organization administrators of its account and Region.",
                )
            refuse_deleted(found)
            if not await self._begin(tx.connection, found, caller.user.id, reason, caller.source_address):
                raise Refused(
                    Kind.FAILED_PRECONDITION,
                    "NOT_COMPLETE",
                    f"The recording of {session_id} is not complete ({found.status.lower()}); nothing was deleted",
                    "Only complete recordings are deleted. See what it waits for: jit recordings uploads",
                    metadata={"status": found.status.value},
                )
            tx.after_commit(lambda: self._changes.publish(_TOPIC))
            changed = await recordings.get(tx.connection, session_id)
        assert changed is not None
        return changed

    async def mark_old(self) -> int:
        """Once an hour, decides on what was kept for longer than the retention; how many recordings that is."""
        if self._retention is None or (now := await self._believed.hourly()) is None:
            return 0
        why = f"kept for {self._retention.days} days"
        marked = 0
        while True:
            async with self._database.read() as connection:
                old = await deletions.ended_before(connection, now - self._retention, _BATCH)
            for session_id in old:
                async with self._database.transaction() as tx:
                    found = await recordings.get(tx.connection, session_id)
                    marked += found is not None and await self._begin(tx.connection, found, "", why, "")
            if len(old) < _BATCH:
                return marked

    async def sweep(self) -> int:
        """Deletes what is due; how many recordings are gone.

        An account whose store does not answer is left for the next sweep: it holds the others up once and not for
        each of its recordings. One that refuses something, as what Object Lock retains, does so at once.
        """
        total = 0
        unreachable = set[str]()
        while True:
            async with self._database.read() as connection:
                due = await deletions.due(connection, self._clock(), _BATCH, spared=unreachable)
            for session_id, account in due:
                if account in unreachable:
                    continue
                try:
                    total += await self._try(session_id)
                except StoreUnreachable:
                    unreachable.add(account)
            if len(due) < _BATCH:
                return total

    async def _begin(
        self, connection: AsyncConnection, found: SessionRecording, actor: str, reason: str, address: str
    ) -> bool:
        now = self._clock()
        if not await deletions.begin(connection, found.session_id, actor_id=actor, reason=reason, now=now):
            return False
        by = actor or "The retention"
        event = _event(
            "recording.deleting", found, now, f"{by} has {_what(found)} deleted: {reason}", {"reason": reason}
        )
        await events.append(connection, replace(event, actor_id=actor, source_address=address))
        return True

    async def _try(self, session_id: str) -> bool:
        """Whether the recording is gone. What failed is told and tried again later. Raises StoreUnreachable."""
        try:
            await self._remove_objects(session_id)
        except (RecorderError, OSError) as failure:
            await self._failed(session_id, str(failure))
            if isinstance(failure, StoreUnreachable):
                raise
            return False
        now = self._clock()
        async with self._database.transaction() as tx:
            found = await recordings.get(tx.connection, session_id)
            if found is None or not await deletions.done(tx.connection, session_id, now):
                return False
            await events.append(tx.connection, _deleted(found, now))
            tx.after_commit(lambda: self._changes.publish(session_id, "recordings"))
        return True

    async def _remove_objects(self, session_id: str) -> None:
        async with self._database.read() as connection:
            data = await recordings.manifest_of(connection, session_id)
        if data is None:
            return  # another gateway was faster
        manifest = parse_manifest(data)
        if manifest.session.session_id != session_id:
            raise DamagedRecording("the index has another session's manifest: nothing is deleted by it")
        # Also what is not listed: another program's delete marker hides an object, and its bytes stay.
        names = {found.name async for found in self._store.list(manifest.prefix)}
        for epoch in manifest.epochs:
            names.add(manifest_name(manifest.prefix, epoch.epoch))
            names.update(segment_name(manifest.prefix, epoch.epoch, each.sequence) for each in epoch.segments)
        manifests = manifest_name(manifest.prefix, 1).rsplit("-", 1)[0]
        # While one object is left so is the newest manifest, which says what the others were.
        for name in sorted(names, key=lambda name: (name.startswith(manifests), name)):
            await self._store.delete(name)

    async def _failed(self, session_id: str, reason: str) -> None:
        _log.warning("deletions.waiting", session=session_id, reason=reason)
        now = self._clock()
        async with self._database.transaction() as tx:
            found = await recordings.get(tx.connection, session_id)
            if found is None or not await deletions.failed(tx.connection, session_id, reason, now):
                return
            await events.append(tx.connection, _undeletable(found, now, reason))


def refuse_deleted(recording: SessionRecording) -> None:
    """Raises Refused for what is deleted, or being deleted: when, by whom, and why."""
    gone = recording.deletion
    if gone is None:
        return
    by = gone.actor_id or "the retention"
    if recording.status is RecordingStatus.DELETED:
        at = gone.deleted_at or gone.wanted_at
        reason, message = "RECORDING_DELETED", f"was deleted at {at:%Y-%m-%d %H:%M:%S} UTC by {by}: {gone.reason}"
    else:
        waits = f"; it waits: {recording.status_reason}" if recording.status_reason else ""
        reason, message = "BEING_DELETED", f"is being deleted, by {by}: {gone.reason}{waits}"
    raise Refused(
        Kind.FAILED_PRECONDITION,
        reason,
        f"The recording of {recording.session_id} {message}",
        f"See what stays of it: jit recordings show {recording.session_id}",
        metadata={"status": recording.status.value},
    )


def _deleted(found: SessionRecording, now: datetime) -> events.Event:
    gone = found.deletion
    assert gone is not None
    details = {
        "reason": gone.reason,
        "by": gone.actor_id or "retention",
        "manifest_sha256": gone.manifest_sha256,
        "stored_bytes": found.stored_bytes,
        "request": found.request_id,
    }
    by = gone.actor_id or "the retention"
    summary = f"T{_what(found)[1:]} is deleted, by {by}: {gone.reason}"
    return _event("recording.deleted", found, now, summary, details)


def _undeletable(found: SessionRecording, now: datetime, reason: str) -> events.Event:
    summary = f"T{_what(found)[1:]} cannot be deleted now, and is tried again: {reason}"
    return _event("recording.deletion_failed", found, now, summary, {"reason": reason})


def _what(found: SessionRecording) -> str:
    return f"the recording of {found.user_id} on {found.node_name}"


def _event(
    kind: str, found: SessionRecording, now: datetime, summary: str, details: Mapping[str, Any]
) -> events.Event:
    return events.Event(
        type=kind,
        at=now,
        subject=found.session_id,
        summary=summary,
        account=found.account,
        region=found.region,
        details=dict(details),
    )

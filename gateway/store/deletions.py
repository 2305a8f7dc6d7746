"""Recordings that are being deleted, and what stays of them: a killed gateway goes on from these rows."""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.sessions.model import RecordingStatus
from gateway.store import recording_tables, tables

_rows = recording_tables.recordings
_deletions = recording_tables.recording_deletions
_sessions = tables.sessions
# The manifest says which objects are the recording's: without it nothing is begun.
_WHOLE: Final = (_rows.c.status == RecordingStatus.COMPLETE.value, _rows.c.manifest.is_not(None))
_REASON_CHARACTERS: Final = 512
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(hours=6)


async def ended_before(connection: AsyncConnection, moment: datetime, limit: int) -> list[str]:
    """Sessions that ended until `moment` and whose recordings are complete, oldest first."""
    query = (
        select(_rows.c.session_id)
        .join(_sessions, _sessions.c.id == _rows.c.session_id)
        .where(*_WHOLE, _sessions.c.ended_at <= moment)
        .order_by(_sessions.c.ended_at)
        .limit(limit)
    )
    return list(await connection.scalars(query))


async def begin(
    connection: AsyncConnection, session_id: str, *, actor_id: str, reason: str, now: datetime
) -> bool:
    """From now on the recording is being deleted. False: it is not complete (any more), and nothing changed."""
    query = update(_rows).where(_rows.c.session_id == session_id, *_WHOLE)
    marked = query.values(status=RecordingStatus.DELETING.value, status_reason="").returning(_rows.c.manifest)
    manifest = await connection.scalar(marked)
    if manifest is None:
        return False
    values = {
        "session_id": session_id,
        "wanted_at": now,
        "actor_id": actor_id,
        "reason": reason,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "failures": 0,
        "next_try_at": now,
    }
    await connection.execute(insert(_deletions).values(values))
    return True


async def due(
    connection: AsyncConnection, now: datetime, limit: int, *, spared: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Sessions whose recordings are to be deleted now, each with its account; none of the accounts in `spared`."""
    query = (
        select(_deletions.c.session_id, _rows.c.account)
        .join(_rows, _rows.c.session_id == _deletions.c.session_id)
        .where(_deletions.c.next_try_at <= now, _rows.c.account.not_in(spared))
        .order_by(_deletions.c.next_try_at)
        .limit(limit)
    )
    return [(row.session_id, row.account) for row in await connection.execute(query)]


async def done(connection: AsyncConnection, session_id: str, now: datetime) -> bool:
    """Every object is gone; the wrapped key goes with the manifest. False: another gateway said so before."""
    deleting = RecordingStatus.DELETING.value
    query = update(_rows).where(_rows.c.session_id == session_id, _rows.c.status == deleting)
    values = {"status": RecordingStatus.DELETED.value, "status_reason": "", "manifest": None}
    if not (await connection.execute(query.values(values))).rowcount:
        return False
    gone = update(_deletions).where(_deletions.c.session_id == session_id)
    await connection.execute(gone.values(deleted_at=now, next_try_at=None, failures=0))
    return True


async def failed(connection: AsyncConnection, session_id: str, reason: str, now: datetime) -> bool:
    """Tried again later, each time after a longer wait. Whether it is the first failure in a row."""
    deleting = RecordingStatus.DELETING.value
    query = update(_rows).where(_rows.c.session_id == session_id, _rows.c.status == deleting)
    if not (await connection.execute(query.values(status_reason=reason[:_REASON_CHARACTERS]))).rowcount:
        return False
    mine = _deletions.c.session_id == session_id
    before = await connection.scalar(select(_deletions.c.failures).where(mine)) or 0
    wait = min(_FIRST_WAIT * 2 ** min(before, 10), _LONGEST_WAIT)
    await connection.execute(update(_deletions).where(mine).values(failures=before + 1, next_try_at=now + wait))
    return before == 0


async def again(connection: AsyncConnection, session_id: str, manifest: bytes, now: datetime) -> None:
    """A spool that was left over brought a deleted recording's objects back: they are deleted once more."""
    query = update(_rows).where(_rows.c.session_id == session_id)
    await connection.execute(query.values(status=RecordingStatus.DELETING.value, manifest=manifest))
    mine = update(_deletions).where(_deletions.c.session_id == session_id)
    await connection.execute(mine.values(deleted_at=None, next_try_at=now))

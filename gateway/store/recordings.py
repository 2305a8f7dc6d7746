"""The index of recordings: where each stands, and its signed manifest once it is complete."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.sessions.model import Deletion, RecordingStatus, Session, SessionRecording
from gateway.store import recording_tables, upsert
from gateway.store.scopes import within

_rows = recording_tables.recordings
_deletions = recording_tables.recording_deletions
_columns = [
    *(column for column in _rows.c if column.name != "manifest"),
    *(_deletions.c[name] for name in ("wanted_at", "actor_id", "reason", "manifest_sha256", "deleted_at")),
]
_with_deletions = _rows.outerjoin(_deletions)
_REASON_CHARACTERS = 512
_AT_ONCE = 100  # manifests in memory: one has a line for each minute of its session


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; an empty field does not narrow."""

    user_id: str = ""
    node: str = ""  # id or name
    request_id: str = ""
    account: str = ""
    region: str = ""
    started_after: datetime | None = None
    started_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """What an inventory needs of a recording; `manifest` is None until it is complete, and once it is deleted."""

    session_id: str
    request_id: str
    account: str
    region: str
    started_at: datetime
    status: RecordingStatus
    manifest: bytes | None
    deletion: Deletion | None


async def begin(connection: AsyncConnection, session: Session) -> None:
    """The session's recording is under way."""
    await _put(connection, session, {"status": RecordingStatus.RECORDING.value})


async def closing(connection: AsyncConnection, session_id: str) -> None:
    """The session is over; its recording is on its way to the store."""
    recording = RecordingStatus.RECORDING.value
    query = update(_rows).where(_rows.c.session_id == session_id, _rows.c.status == recording)
    await connection.execute(query.values(status=RecordingStatus.UPLOADING.value))


async def waiting(connection: AsyncConnection, session_id: str, reason: str) -> None:
    """Something outside is not there; the recorder tries again."""
    unfinished = (RecordingStatus.RECORDING.value, RecordingStatus.UPLOADING.value)
    query = update(_rows).where(_rows.c.session_id == session_id, _rows.c.status.in_(unfinished))
    await connection.execute(query.values(status_reason=reason[:_REASON_CHARACTERS]))


async def complete(
    connection: AsyncConnection,
    session: Session,
    *,
    manifest: bytes,
    duration_us: int,
    output_bytes: int,
    input_bytes: int,
    stored_bytes: int,
    gaps: int,
) -> None:
    """Everything is in the object store."""
    values = {
        "status": RecordingStatus.COMPLETE.value,
        "status_reason": "",
        "manifest": manifest,
        "duration_us": duration_us,
        "output_bytes": output_bytes,
        "input_bytes": input_bytes,
        "stored_bytes": stored_bytes,
        "gaps": gaps,
    }
    await _put(connection, session, values)


async def quarantine(connection: AsyncConnection, session: Session, reason: str) -> None:
    """It could not be finished; nothing was deleted."""
    values = {"status": RecordingStatus.QUARANTINED.value, "status_reason": reason[:_REASON_CHARACTERS]}
    await _put(connection, session, values)


async def get(connection: AsyncConnection, session_id: str) -> SessionRecording | None:
    query = select(*_columns).select_from(_with_deletions).where(_rows.c.session_id == session_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _from_row(row)


async def manifest_of(connection: AsyncConnection, session_id: str) -> bytes | None:
    """The signed manifest, byte for byte; None until the recording is complete."""
    return await connection.scalar(select(_rows.c.manifest).where(_rows.c.session_id == session_id))


async def find(
    connection: AsyncConnection,
    scopes: Iterable[tuple[str, str]],
    wanted: Filter,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[SessionRecording]:
    """Those of `scopes` (account and Region, each may be *), newest first, from (`started_at`, session) on."""
    query = select(*_columns).select_from(_with_deletions).where(within(_rows, scopes), *_narrowed(wanted))
    query = query.order_by(_rows.c.started_at.desc(), _rows.c.session_id.desc()).limit(limit)
    if after is not None:
        at, session_id = after
        query = query.where(
            or_(_rows.c.started_at < at, and_(_rows.c.started_at == at, _rows.c.session_id < session_id))
        )
    return [_from_row(row) for row in await connection.execute(query)]


async def listed(connection: AsyncConnection, scopes: Iterable[tuple[str, str]]) -> AsyncIterator[list[Listed]]:
    """All of `scopes` with their manifests, oldest first, some at a time."""
    query = select(*_columns, _rows.c.manifest).select_from(_with_deletions).where(within(_rows, scopes))
    query = query.order_by(_rows.c.started_at, _rows.c.session_id)
    async with connection.stream(query.execution_options(yield_per=_AT_ONCE)) as found:
        async for rows in found.partitions():
            yield [_listed(row) for row in rows]


def _narrowed(wanted: Filter) -> list[ColumnElement[bool]]:
    equal = (
        (_rows.c.user_id, wanted.user_id),
        (_rows.c.request_id, wanted.request_id),
        (_rows.c.account, wanted.account),
        (_rows.c.region, wanted.region),
    )
    narrowed: list[ColumnElement[bool]] = [column == value for column, value in equal if value]
    if wanted.node:
        narrowed.append(or_(_rows.c.node_id == wanted.node, _rows.c.node_name == wanted.node))
    if wanted.started_after is not None:
        narrowed.append(_rows.c.started_at > wanted.started_after)
    if wanted.started_before is not None:
        narrowed.append(_rows.c.started_at < wanted.started_before)
    return narrowed


async def _put(connection: AsyncConnection, session: Session, changing: dict[str, Any]) -> None:
    about = {
        "request_id": session.request_id,
        "account": session.account,
        "region": session.region,
        "user_id": session.user_id,
        "node_id": session.node_id,
        "node_name": session.node_name,
        "started_at": session.started_at,
    }
    await upsert.put(connection, _rows, {"session_id": session.id}, {**about, **changing})


def _from_row(row: Row[Any]) -> SessionRecording:
    return SessionRecording(
        session_id=row.session_id,
        request_id=row.request_id,
        account=row.account,
        region=row.region,
        user_id=row.user_id,
        node_id=row.node_id,
        node_name=row.node_name,
        status=RecordingStatus(row.status),
        started_at=row.started_at,
        status_reason=row.status_reason,
        duration_us=row.duration_us,
        output_bytes=row.output_bytes,
        input_bytes=row.input_bytes,
        stored_bytes=row.stored_bytes,
        gaps=row.gaps,
        deletion=_deletion(row),
    )


def _deletion(row: Row[Any]) -> Deletion | None:
    if row.wanted_at is None:
        return None
    return Deletion(row.wanted_at, row.actor_id, row.reason, row.manifest_sha256, row.deleted_at)


def _listed(row: Any) -> Listed:
    return Listed(
        session_id=row.session_id,
        request_id=row.request_id,
        account=row.account,
        region=row.region,
        started_at=row.started_at,
        status=RecordingStatus(row.status),
        manifest=row.manifest,
        deletion=_deletion(row),
    )

"""What of recordings is still in spools, as the gateways that have those said last."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.sessions.model import RecordingStatus
from gateway.store import recording_tables, tables, upsert
from gateway.store.scopes import within
from recorder.model import Pending

_rows = recording_tables.uploads
_recordings = recording_tables.recordings
_sessions = tables.sessions
_shown = [each for each in _recordings.c if each.name != "manifest"]
_FAILURE_CHARACTERS = 512
_LEFT = (RecordingStatus.UPLOADING.value, RecordingStatus.QUARANTINED.value)


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that is not in its store yet. `replica` has its spool; counts are as of `reported_at`.

    `stored` and `waiting` count segments. `failure` is what the last try said, `failing_since` when the first one
    failed after the last success, `next_try_at` when it is tried again. `is_retried`: it is to leave quarantine.
    """

    session_id: str
    account: str
    region: str
    user_id: str
    node_id: str
    node_name: str
    status: RecordingStatus
    started_at: datetime
    replica: str
    spool_bytes: int = 0
    stored: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None
    failure: str = ""
    failing_since: datetime | None = None
    next_try_at: datetime | None = None
    reported_at: datetime | None = None
    is_retried: bool = False


async def report(connection: AsyncConnection, pending: Pending, replica: str, now: datetime) -> None:
    """What `replica` has of it; more than was stored before means that it fails no more."""
    row = (await connection.execute(select(_rows).where(_rows.c.session_id == pending.session_id))).one_or_none()
    values: dict[str, Any] = {
        "replica": replica,
        "spool_bytes": pending.spool_bytes,
        "segments_stored": pending.stored,
        "segments_waiting": pending.waiting,
        "waiting_since": now if row is None or row.waiting_since is None else row.waiting_since,
        "reported_at": now,
    }
    if row is not None and row.segments_stored is not None and row.segments_stored < pending.stored:
        values |= {"failure": "", "failing_since": None, "next_try_at": None}
    await upsert.put(connection, _rows, {"session_id": pending.session_id}, values)


async def failed(
    connection: AsyncConnection,
    session_id: str,
    replica: str,
    *,
    failure: str,
    now: datetime,
    next_try_at: datetime,
) -> bool:
    """A try failed; whether that is news: the one before it had not."""
    since = await connection.scalar(select(_rows.c.failing_since).where(_rows.c.session_id == session_id))
    values = {
        "replica": replica,
        "failure": failure[:_FAILURE_CHARACTERS],
        "failing_since": since or now,
        "next_try_at": next_try_at,
    }
    await upsert.put(connection, _rows, {"session_id": session_id}, values)
    return since is None


async def set_aside(connection: AsyncConnection, session_id: str, replica: str, now: datetime) -> None:
    """It is in the quarantine of that replica's spool, where nothing tries it."""
    values = {"replica": replica, "next_try_at": None, "reported_at": now, "is_retried": False}
    await upsert.put(connection, _rows, {"session_id": session_id}, values)


async def known(connection: AsyncConnection, replica: str) -> dict[str, tuple[int, int | None, int]]:
    """Bytes in the spool, segments stored and waiting, by session, as `replica` said last of what is tried."""
    columns = (_rows.c.session_id, _rows.c.spool_bytes, _rows.c.segments_stored, _rows.c.segments_waiting)
    query = select(*columns).where(_rows.c.replica == replica, ~_rows.c.is_retried, ~_aside())
    found = await connection.execute(query)
    return {session_id: (size, stored, waiting) for session_id, size, stored, waiting in found}


async def forget(connection: AsyncConnection, session_ids: Collection[str]) -> None:
    """Nothing waits of these any more; what was set aside meanwhile, or is to come back, stays known."""
    query = delete(_rows).where(_rows.c.session_id.in_(session_ids), ~_rows.c.is_retried, ~_aside())
    await connection.execute(query)


async def complete(connection: AsyncConnection, session_id: str) -> None:
    """The store has it all."""
    await connection.execute(delete(_rows).where(_rows.c.session_id == session_id))


async def want_retry(connection: AsyncConnection, session_id: str) -> bool:
    """It is to come out of quarantine, wherever that is; False: it is not in one."""
    quarantined = RecordingStatus.QUARANTINED.value
    query = update(_recordings).where(_recordings.c.session_id == session_id, _recordings.c.status == quarantined)
    if not (await connection.execute(query.values(status=RecordingStatus.UPLOADING.value))).rowcount:
        return False
    of_session = await connection.scalar(select(_sessions.c.replica).where(_sessions.c.id == session_id))
    row = await connection.scalar(select(_rows.c.replica).where(_rows.c.session_id == session_id))
    values = {"replica": row or of_session or "", "is_retried": True}
    await upsert.put(connection, _rows, {"session_id": session_id}, values)
    return True


async def retries(connection: AsyncConnection) -> list[str]:
    """Sessions whose recordings are to come out of quarantine."""
    return list(await connection.scalars(select(_rows.c.session_id).where(_rows.c.is_retried)))


async def retried(connection: AsyncConnection, session_id: str, now: datetime) -> None:
    """It is out of quarantine; what failed before is over."""
    values = {"is_retried": False, "failure": "", "failing_since": None, "waiting_since": now}
    await connection.execute(update(_rows).where(_rows.c.session_id == session_id).values(**values))


async def counts(connection: AsyncConnection) -> tuple[int, int]:
    """How many uploads fail now, and how many recordings are in quarantine."""
    failing = await connection.scalar(select(func.count()).where(_rows.c.failing_since.is_not(None), ~_aside()))
    aside = await connection.scalar(
        select(func.count()).where(_recordings.c.status == RecordingStatus.QUARANTINED.value)
    )
    return failing or 0, aside or 0


async def find(
    connection: AsyncConnection,
    scopes: Iterable[tuple[str, str]],
    limit: int,
    *,
    narrowed_to: tuple[str, str] = ("", ""),
    after: tuple[datetime, str] | None = None,
) -> list[Upload]:
    """What is not in its store though its session is over, and what waits of those that go on; newest first."""
    query = (
        select(
            *_shown,
            _sessions.c.replica.label("of_replica"),
            *(each for each in _rows.c if each.name != "session_id"),
        )
        .join(_sessions, _sessions.c.id == _recordings.c.session_id)
        .outerjoin(_rows, _rows.c.session_id == _recordings.c.session_id)
        .where(
            within(_recordings, scopes),
            or_(
                _recordings.c.status.in_(_LEFT),
                and_(_recordings.c.status == RecordingStatus.RECORDING.value, _rows.c.session_id.is_not(None)),
            ),
        )
        .order_by(_recordings.c.started_at.desc(), _recordings.c.session_id.desc())
        .limit(limit)
    )
    for column, value in zip((_recordings.c.account, _recordings.c.region), narrowed_to, strict=True):
        if value:
            query = query.where(column == value)
    if after is not None:
        at, session_id = after
        earlier = and_(_recordings.c.started_at == at, _recordings.c.session_id < session_id)
        query = query.where(or_(_recordings.c.started_at < at, earlier))
    return [_upload(row) for row in (await connection.execute(query)).mappings()]


def _aside() -> ColumnElement[bool]:
    aside = select(_recordings.c.session_id).where(_recordings.c.status == RecordingStatus.QUARANTINED.value)
    return _rows.c.session_id.in_(aside)


def _upload(row: Mapping[Any, Any]) -> Upload:
    return Upload(
        session_id=row["session_id"],
        account=row["account"],
        region=row["region"],
        user_id=row["user_id"],
        node_id=row["node_id"],
        node_name=row["node_name"],
        status=RecordingStatus(row["status"]),
        started_at=row["started_at"],
        replica=row["replica"] or row["of_replica"],
        spool_bytes=row["spool_bytes"] or 0,
        stored=row["segments_stored"] or 0,
        waiting=row["segments_waiting"] or 0,
        waiting_since=row["waiting_since"],
        failure=row["failure"] or ""
        if row["status"] != RecordingStatus.QUARANTINED.value
        else row["status_reason"],
        failing_since=row["failing_since"],
        next_try_at=row["next_try_at"],
        reported_at=row["reported_at"],
        is_retried=bool(row["is_retried"]),
    )

"""Sessions: what is stored of them, and the questions that are asked about many."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, false, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.model import Status
from gateway.nodes.ports import UpstreamKind
from gateway.sessions.model import End, Ending, Session
from gateway.store import tables
from gateway.store.scopes import within

_rows = tables.sessions
_MESSAGE_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: sees the own sessions and all of `scopes` (account and Region, each may be *)."""

    user_id: str
    scopes: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; an empty field does not narrow."""

    live_only: bool = False
    user_id: str = ""
    node: str = ""  # id or name
    request_id: str = ""
    account: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a live session rests on. `window_end` is None once its request is not open any more."""

    window_end: datetime | None
    is_locked: bool  # its user or its node is locked or removed
    terminated_by: str
    terminate_reason: str


async def add(connection: AsyncConnection, session: Session) -> None:
    await connection.execute(
        insert(_rows).values(
            id=session.id,
            request_id=session.request_id,
            account=session.account,
            region=session.region,
            user_id=session.user_id,
            node_id=session.node_id,
            node_name=session.node_name,
            login=session.login,
            kind=session.kind.value,
            command=session.command,
            source_address=session.source_address,
            replica=session.replica,
            started_at=session.started_at,
            ends_at=session.ends_at,
            grace_seconds=session.grace_seconds,
        )
    )


async def get(connection: AsyncConnection, session_id: str, *, for_update: bool = False) -> Session | None:
    query = select(_rows).where(_rows.c.id == session_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _from_row(row)


async def end(connection: AsyncConnection, session_id: str, ending: Ending, at: datetime) -> bool:
    """Writes how a session ended, once; whether it was still without an end."""
    query = update(_rows).where(_rows.c.id == session_id, _rows.c.ended_at.is_(None))
    values = {"ended_at": at, "end": ending.end.value, "end_message": ending.message[:_MESSAGE_CHARACTERS]}
    return (await connection.execute(query.values(**values))).rowcount == 1


async def terminate(connection: AsyncConnection, session_id: str, by: str, reason: str) -> None:
    """Writes an administrator's wish down, for the replica that holds the session."""
    query = update(_rows).where(_rows.c.id == session_id, _rows.c.ended_at.is_(None))
    await connection.execute(query.values(terminated_by=by, terminate_reason=reason))


async def without_end(connection: AsyncConnection, replica: str) -> list[Session]:
    """The sessions that a replica holds, or held when it died."""
    query = select(_rows).where(_rows.c.replica == replica, _rows.c.ended_at.is_(None))
    return [_from_row(row) for row in await connection.execute(query)]


async def overdue(connection: AsyncConnection, replica: str, before: datetime) -> list[Session]:
    """Sessions without an end that other replicas than this one should have ended before that moment."""
    query = select(_rows).where(_rows.c.replica != replica, _rows.c.ended_at.is_(None), _rows.c.ends_at < before)
    return [_from_row(row) for row in await connection.execute(query)]


async def lock_request(connection: AsyncConnection, request_id: str) -> None:
    """Nobody changes the request before the transaction ends."""
    requests = tables.access_requests
    await connection.execute(select(requests.c.id).where(requests.c.id == request_id).with_for_update())


async def standings(connection: AsyncConnection, replica: str) -> Mapping[str, Standing]:
    """What each live session of a replica rests on, by session id, in one query."""
    requests, users, nodes = tables.access_requests, tables.users, tables.nodes
    query = (
        select(
            _rows.c.id,
            _rows.c.terminated_by,
            _rows.c.terminate_reason,
            requests.c.status,
            requests.c.next_deadline,
            or_(
                users.c.id.is_(None),
                users.c.locked_at.is_not(None),
                users.c.removed_at.is_not(None),
                nodes.c.id.is_(None),
                nodes.c.locked_at.is_not(None),
                nodes.c.removed_at.is_not(None),
            ).label("is_locked"),
        )
        .select_from(_rows)
        .outerjoin(requests, requests.c.id == _rows.c.request_id)
        .outerjoin(users, users.c.id == _rows.c.user_id)
        .outerjoin(nodes, nodes.c.id == _rows.c.node_id)
        .where(_rows.c.replica == replica, _rows.c.ended_at.is_(None))
    )
    return {
        row.id: Standing(
            window_end=row.next_deadline if row.status == Status.APPROVED.value else None,
            is_locked=row.is_locked,
            terminated_by=row.terminated_by or "",
            terminate_reason=row.terminate_reason or "",
        )
        for row in await connection.execute(query)
    }


async def find(
    connection: AsyncConnection,
    reader: Reader,
    wanted: Filter,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[Session]:
    """Newest first, from the one after (`started_at`, id) on."""
    query = select(_rows).order_by(_rows.c.started_at.desc(), _rows.c.id.desc()).limit(limit)
    query = query.where(or_(false(), _rows.c.user_id == reader.user_id, within(_rows, reader.scopes)))
    if wanted.live_only:
        query = query.where(_rows.c.ended_at.is_(None))
    if wanted.node:
        query = query.where(or_(_rows.c.node_id == wanted.node, _rows.c.node_name == wanted.node))
    for column, value in (
        (_rows.c.user_id, wanted.user_id),
        (_rows.c.request_id, wanted.request_id),
        (_rows.c.account, wanted.account),
        (_rows.c.region, wanted.region),
    ):
        if value:
            query = query.where(column == value)
    if after is not None:
        at, session_id = after
        query = query.where(or_(_rows.c.started_at < at, and_(_rows.c.started_at == at, _rows.c.id < session_id)))
    return [_from_row(row) for row in await connection.execute(query)]


def _from_row(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        request_id=row.request_id,
        account=row.account,
        region=row.region,
        user_id=row.user_id,
        node_id=row.node_id,
        node_name=row.node_name,
        login=row.login,
        kind=UpstreamKind(row.kind),
        command=row.command,
        source_address=row.source_address,
        replica=row.replica,
        started_at=row.started_at,
        ends_at=row.ends_at,
        ended_at=row.ended_at,
        end=End(row.end) if row.end else None,
        end_message=row.end_message or "",
        terminated_by=row.terminated_by or "",
        terminate_reason=row.terminate_reason or "",
        grace_seconds=row.grace_seconds,
    )

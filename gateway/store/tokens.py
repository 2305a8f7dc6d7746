"""Access tokens, by their hashes (R24)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.model import Token
from gateway.store import tables

_rows = tables.access_tokens


async def get(connection: AsyncConnection, token_hash: str) -> Token | None:
    row = (await connection.execute(select(_rows).where(_rows.c.hash == token_hash))).one_or_none()
    return None if row is None else _from_row(row)


async def add(connection: AsyncConnection, token: Token) -> None:
    await connection.execute(
        insert(_rows).values(
            hash=token.hash,
            request_id=token.request_id,
            user_id=token.user_id,
            node_id=token.node_id,
            key_hash=token.key_hash,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
        )
    )


async def alive(connection: AsyncConnection, request_id: str, now: datetime) -> list[Token]:
    """The request's tokens that could still be used, oldest first."""
    query = select(_rows).where(_rows.c.request_id == request_id, _alive(now))
    query = query.order_by(_rows.c.created_at, _rows.c.hash)
    return [_from_row(row) for row in await connection.execute(query)]


async def revoke(connection: AsyncConnection, token_hashes: Sequence[str], now: datetime) -> None:
    await connection.execute(update(_rows).where(_rows.c.hash.in_(token_hashes)).values(revoked_at=now))


async def revoke_all(connection: AsyncConnection, request_id: str, now: datetime) -> None:
    query = update(_rows).where(_rows.c.request_id == request_id, _rows.c.revoked_at.is_(None))
    await connection.execute(query.values(revoked_at=now))


async def forget_dead(connection: AsyncConnection, request_id: str, before: datetime) -> None:
    """Deletes the request's tokens that ended before that moment."""
    ended = or_(_rows.c.expires_at <= before, _rows.c.revoked_at <= before)
    await connection.execute(delete(_rows).where(_rows.c.request_id == request_id, ended))


def _alive(now: datetime) -> ColumnElement[bool]:
    return _rows.c.revoked_at.is_(None) & (_rows.c.expires_at > now)


def _from_row(row: Row[Any]) -> Token:
    return Token(
        hash=row.hash,
        request_id=row.request_id,
        user_id=row.user_id,
        node_id=row.node_id,
        key_hash=row.key_hash,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )

"""Tokens that identity providers prove themselves with, by the hash of the secret."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.scim_tables import scim_tokens


@dataclass(frozen=True, slots=True)
class ScimToken:
    """`provider`: its name in the configuration; `issuer`: whom it may speak for."""

    id: str
    hash: str = field(repr=False)
    provider: str
    issuer: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None


async def add(connection: AsyncConnection, new: ScimToken) -> None:
    values = {name: getattr(new, name) for name in ScimToken.__dataclass_fields__}
    await connection.execute(insert(scim_tokens).values(values))


async def by_hash(connection: AsyncConnection, secret_hash: str) -> ScimToken | None:
    """Also one that has expired."""
    row = (await connection.execute(select(scim_tokens).where(scim_tokens.c.hash == secret_hash))).one_or_none()
    return None if row is None else _token(row)


async def every(connection: AsyncConnection) -> list[ScimToken]:
    """Oldest first."""
    query = select(scim_tokens).order_by(scim_tokens.c.created_at, scim_tokens.c.id)
    return [_token(row) for row in await connection.execute(query)]


async def lock(connection: AsyncConnection, issuer: str) -> frozenset[str]:
    """Makes whoever else writes for that issuer, or takes its tokens away, wait. The ids of its tokens."""
    query = select(scim_tokens.c.id).where(scim_tokens.c.issuer == issuer).order_by(scim_tokens.c.id)
    return frozenset(await connection.scalars(query.with_for_update()))


async def used(connection: AsyncConnection, token_id: str, at: datetime) -> None:
    await connection.execute(update(scim_tokens).where(scim_tokens.c.id == token_id).values(last_used_at=at))


async def remove(connection: AsyncConnection, token_id: str) -> ScimToken | None:
    """What it was; None: there is none."""
    query = select(scim_tokens).where(scim_tokens.c.id == token_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    await connection.execute(delete(scim_tokens).where(scim_tokens.c.id == token_id))
    return None if row is None else _token(row)


def _token(row: Row[Any]) -> ScimToken:
    return ScimToken(**{name: getattr(row, name) for name in ScimToken.__dataclass_fields__})

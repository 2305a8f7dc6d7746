"""Sessions of browsers, by the hash of the secret that their cookie holds."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables

_sessions = tables.browser_sessions


@dataclass(frozen=True, slots=True)
class StoredSession:
    """`proven_at`: when the person proved who they are; None: the provider did not say."""

    secret_hash: str = field(repr=False)
    user_id: str
    provider: str  # empty: a local user
    created_at: datetime
    proven_at: datetime | None
    expires_at: datetime


async def add(connection: AsyncConnection, new: StoredSession) -> None:
    await connection.execute(
        insert(_sessions).values(
            secret_hash=new.secret_hash,
            user_id=new.user_id,
            provider=new.provider,
            created_at=new.created_at,
            proven_at=new.proven_at,
            expires_at=new.expires_at,
        )
    )


async def get(connection: AsyncConnection, secret_hash: str, now: datetime) -> StoredSession | None:
    """None: ended, or never begun."""
    query = select(_sessions).where(_sessions.c.secret_hash == secret_hash, _sessions.c.expires_at > now)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return StoredSession(row.secret_hash, row.user_id, row.provider, row.created_at, row.proven_at, row.expires_at)


async def end(connection: AsyncConnection, secret_hash: str) -> None:
    await connection.execute(delete(_sessions).where(_sessions.c.secret_hash == secret_hash))


async def forget_before(connection: AsyncConnection, now: datetime) -> None:
    await connection.execute(delete(_sessions).where(_sessions.c.expires_at <= now))

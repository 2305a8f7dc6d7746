"""Codes that link a chat identity to a person, by their hash; one a person and kind of chat."""

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables

_codes = tables.chat_codes


async def put(
    connection: AsyncConnection, code_hash: str, user_id: str, kind: str, *, expires_at: datetime, now: datetime
) -> None:
    """The person's earlier code of that kind stops working; what expired is forgotten."""
    theirs = (_codes.c.user_id == user_id) & (_codes.c.kind == kind)
    await connection.execute(delete(_codes).where(theirs | (_codes.c.expires_at <= now)))
    await connection.execute(
        insert(_codes).values(hash=code_hash, user_id=user_id, kind=kind, expires_at=expires_at)
    )


async def take(connection: AsyncConnection, code_hash: str, kind: str, now: datetime) -> str | None:
    """Uses the code up; whose it was. None: it does not work, or somebody else was faster."""
    valid = (_codes.c.hash == code_hash) & (_codes.c.kind == kind) & (_codes.c.expires_at > now)
    user_id = (await connection.execute(select(_codes.c.user_id).where(valid))).scalar_one_or_none()
    taken = await connection.execute(delete(_codes).where(valid))
    return user_id if taken.rowcount == 1 else None

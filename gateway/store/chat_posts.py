"""Proofs of what chat services posted, by their hash, for as long as they would be believed."""

from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables

_posts = tables.chat_posts


async def add(connection: AsyncConnection, proof_hash: str, until: datetime) -> None:
    """Raises IntegrityError: it is there already; the transaction is lost then."""
    await connection.execute(insert(_posts).values(hash=proof_hash, until=until))


async def forget_before(connection: AsyncConnection, now: datetime) -> None:
    await connection.execute(delete(_posts).where(_posts.c.until <= now))

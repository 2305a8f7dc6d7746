"""Turns: who waits for whom where there is no row yet that could be locked."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def take(connection: AsyncConnection, *names: str) -> None:
    """Until the transaction ends, nobody else takes a turn of these names, or shares it."""
    await _lock(connection, names, func.pg_advisory_xact_lock)


async def share(connection: AsyncConnection, *names: str) -> None:
    """As `take`, but any number may share: they only wait for whoever takes it."""
    await _lock(connection, names, func.pg_advisory_xact_lock_shared)


async def _lock(connection: AsyncConnection, names: tuple[str, ...], lock: Callable[[Any], Any]) -> None:
    if connection.dialect.name == "sqlite":
        return  # one writer at a time anyway
    for name in sorted(names):  # everybody in the same order, so that nobody waits in a circle
        await connection.execute(select(lock(func.hashtextextended(name, 0))))

"""Where gateways on the same database find each other."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables, upsert

_replicas = tables.replicas


async def put(connection: AsyncConnection, replica: str, address: str, at: datetime) -> None:
    await upsert.put(connection, _replicas, {"id": replica}, {"address": address, "since": at})


async def remove(connection: AsyncConnection, replica: str) -> None:
    await connection.execute(delete(_replicas).where(_replicas.c.id == replica))


async def address_of(connection: AsyncConnection, replica: str) -> str | None:
    """None: it takes no calls of others, or has stopped."""
    query = select(_replicas.c.address).where(_replicas.c.id == replica)
    address: str | None = (await connection.execute(query)).scalar_one_or_none()
    return address

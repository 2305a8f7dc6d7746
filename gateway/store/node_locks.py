"""Locks of nodes: apart from the registry's rows, since an edit of a node must not undo a lock."""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables

_nodes = tables.nodes


async def lock(connection: AsyncConnection, node_id: str, at: datetime, by: str, reason: str) -> None:
    await _set(connection, node_id, locked_at=at, locked_by=by, lock_reason=reason)


async def unlock(connection: AsyncConnection, node_id: str) -> None:
    await _set(connection, node_id, locked_at=None, locked_by=None, lock_reason=None)


async def _set(connection: AsyncConnection, node_id: str, **values: Any) -> None:
    row = update(_nodes).where(_nodes.c.id == node_id)
    await connection.execute(row.values(revision=_nodes.c.revision + 1, **values))

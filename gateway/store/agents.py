"""Registered agents: which key belongs to which node, and which process each is connected to (R33)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.nodes.agents.model import Standing
from gateway.store import tables

_agents = tables.agents
_nodes = tables.nodes
_AT_A_TIME = 500


async def add(
    connection: AsyncConnection,
    node_id: str,
    *,
    key_hash: str,
    activation_id: str,
    at: datetime,
    certified_until: datetime,
) -> None:
    """Raises sqlalchemy's IntegrityError for a node or key that is registered."""
    values = {"key_hash": key_hash, "activation_id": activation_id, "registered_at": at}
    await connection.execute(insert(_agents).values(node_id=node_id, certified_until=certified_until, **values))


async def node_of_key(connection: AsyncConnection, key_hash: str) -> str | None:
    """The id of the node that a key belongs to."""
    query = select(_agents.c.node_id).where(_agents.c.key_hash == key_hash)
    node_id: str | None = (await connection.execute(query)).scalar_one_or_none()
    return node_id


async def standing(connection: AsyncConnection, node_id: str) -> Standing | None:
    """None: no agent ever registered as that node."""
    row = (await connection.execute(_standings().where(_agents.c.node_id == node_id))).one_or_none()
    return None if row is None else _standing(row)


async def standings(connection: AsyncConnection, node_ids: Collection[str]) -> dict[str, Standing]:
    wanted = list(node_ids)
    found = {}
    for start in range(0, len(wanted), _AT_A_TIME):
        query = _standings().where(_agents.c.node_id.in_(wanted[start : start + _AT_A_TIME]))
        found.update({row.node_id: _standing(row) for row in await connection.execute(query)})
    return found


async def certified(connection: AsyncConnection, node_id: str, until: datetime) -> None:
    await connection.execute(update(_agents).where(_agents.c.node_id == node_id).values(certified_until=until))


async def attached(
    connection: AsyncConnection, node_id: str, replica: str, at: datetime, properties: Mapping[str, str]
) -> None:
    """The agent is connected to `replica`, and what it says of its node."""
    values = {"attached_to": replica, "last_seen_at": at, "properties": dict(properties)}
    await connection.execute(update(_nodes).where(_nodes.c.id == node_id).values(**values))


async def seen(connection: AsyncConnection, node_ids: Collection[str], at: datetime) -> None:
    wanted = list(node_ids)
    for start in range(0, len(wanted), _AT_A_TIME):
        these = _nodes.c.id.in_(wanted[start : start + _AT_A_TIME])
        await connection.execute(update(_nodes).where(these).values(last_seen_at=at))


async def detached(connection: AsyncConnection, node_id: str, replica: str, at: datetime) -> None:
    """The connection to `replica` is over; one to another replica is not touched."""
    here = and_(_nodes.c.id == node_id, _nodes.c.attached_to == replica)
    await connection.execute(update(_nodes).where(here).values(attached_to=None, last_seen_at=at))


async def detach_all(connection: AsyncConnection, replica: str) -> None:
    """What a replica held when it died. When each was last seen stays."""
    await connection.execute(update(_nodes).where(_nodes.c.attached_to == replica).values(attached_to=None))


def _standings() -> Any:
    columns = (_agents, _nodes.c.removed_at, _nodes.c.locked_at, _nodes.c.lock_reason)
    return select(*columns).join(_nodes, _nodes.c.id == _agents.c.node_id)


def _standing(row: Row[Any]) -> Standing:
    return Standing(
        node_id=row.node_id,
        key_hash=row.key_hash,
        certified_until=row.certified_until,
        removed=row.removed_at is not None,
        lock_reason=None if row.locked_at is None else row.lock_reason or "",
    )

"""The registry's rows (R3, R33). A removed node keeps its row, so that its id is never used again."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.nodes.model import Node, SshEndpoint, is_node_id
from gateway.store import tables

_nodes = tables.nodes
_ROWS_AT_A_TIME = 500


async def get(connection: AsyncConnection, node_id: str, *, for_update: bool = False) -> Node | None:
    """The node, removed ones included. None: the id was never used."""
    query = select(_nodes).where(_nodes.c.id == node_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _node(row)


async def find(
    connection: AsyncConnection, reference: str, account: str, region: str, *, for_update: bool = False
) -> Node | None:
    """The live node with that id or name in that account and Region."""
    column = _nodes.c.id if is_node_id(reference) else _nodes.c.name
    query = select(_nodes).where(
        column == reference,
        _nodes.c.account == account,
        _nodes.c.region == region,
        _nodes.c.removed_at.is_(None),
    )
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _node(row)


async def stream(
    connection: AsyncConnection, scope: tuple[str, str] | None = None, after: tuple[str, str] | None = None
) -> AsyncIterator[Node]:
    """Live nodes by name, then id, of one (account, Region) or of all, after the one with this (name, id)."""
    query = select(_nodes).where(_nodes.c.removed_at.is_(None)).order_by(_nodes.c.name, _nodes.c.id)
    if scope:
        query = query.where(_nodes.c.account == scope[0], _nodes.c.region == scope[1])
    if after:
        query = query.where(tuple_(_nodes.c.name, _nodes.c.id) > tuple_(*after))
    async with connection.stream(query, execution_options={"yield_per": _ROWS_AT_A_TIME}) as rows:
        async for row in rows:
            yield _node(row)


async def names_beginning(connection: AsyncConnection, prefix: str, account: str, region: str) -> set[str]:
    """Names of live nodes of that account and Region."""
    query = select(_nodes.c.name).where(
        _nodes.c.name.startswith(prefix, autoescape=True),
        _nodes.c.account == account,
        _nodes.c.region == region,
        _nodes.c.removed_at.is_(None),
    )
    return set((await connection.execute(query)).scalars())


async def add(connection: AsyncConnection, node: Node) -> None:
    """Raises sqlalchemy's IntegrityError for an id that was ever used or a name that a live node has."""
    await connection.execute(insert(_nodes).values(id=node.id, created_at=node.created_at, **_changeable(node)))


async def replace(connection: AsyncConnection, node: Node) -> None:
    """Writes all that can change of a node, locks aside."""
    await connection.execute(update(_nodes).where(_nodes.c.id == node.id).values(**_changeable(node)))


async def seen(connection: AsyncConnection, node_id: str, at: datetime, properties: Mapping[str, str]) -> None:
    """Notes that the node answered and what it said of itself; no revision, since nothing was decided."""
    values = {"last_seen_at": at, "properties": dict(properties)}
    await connection.execute(update(_nodes).where(_nodes.c.id == node_id).values(**values))


def _changeable(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "account": node.account,
        "region": node.region,
        "tags": dict(node.tags),
        "connector": node.connector,
        "endpoint": asdict(node.endpoint),
        "properties": dict(node.properties),
        "last_seen_at": node.last_seen_at,
        "removed_at": node.removed_at,
        "revision": node.revision,
    }


def _node(row: Row[Any]) -> Node:
    endpoint = row.endpoint
    return Node(
        id=row.id,
        name=row.name,
        account=row.account,
        region=row.region,
        connector=row.connector,
        endpoint=SshEndpoint(
            host=endpoint["host"],
            port=endpoint["port"],
            login=endpoint["login"],
            host_keys=tuple(endpoint["host_keys"]),
            host_cas=tuple(endpoint["host_cas"]),
        ),
        created_at=row.created_at,
        tags=row.tags,
        properties=row.properties,
        last_seen_at=row.last_seen_at,
        removed_at=row.removed_at,
        locked_at=row.locked_at,
        locked_by=row.locked_by or "",
        lock_reason=row.lock_reason or "",
        revision=row.revision,
        attached_to=row.attached_to or "",
    )

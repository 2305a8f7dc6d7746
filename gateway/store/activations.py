"""Activations (R33). Whoever uses one up holds its row's lock."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.nodes.agents.model import Activation
from gateway.store import tables
from gateway.store.scopes import within

_activations = tables.activations


async def add(connection: AsyncConnection, new: Activation) -> None:
    values = {name: getattr(new, name) for name in Activation.__dataclass_fields__}
    await connection.execute(insert(_activations).values({**values, "tags": dict(new.tags)}))


async def get(connection: AsyncConnection, activation_id: str, *, for_update: bool = False) -> Activation | None:
    query = select(_activations).where(_activations.c.id == activation_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _activation(row)


async def page(
    connection: AsyncConnection,
    scopes: Iterable[tuple[str, str]],
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[Activation]:
    """Those in `scopes` ("*" for all), newest first, after the one with this (created_at, id)."""
    key = tuple_(_activations.c.created_at, _activations.c.id)
    query = select(_activations).where(within(_activations, scopes)).limit(limit)
    query = query.order_by(_activations.c.created_at.desc(), _activations.c.id.desc())
    if after is not None:
        query = query.where(key < tuple_(*after))
    return [_activation(row) for row in await connection.execute(query)]


async def count(connection: AsyncConnection, activation_id: str) -> None:
    """One more node has registered."""
    row = update(_activations).where(_activations.c.id == activation_id)
    await connection.execute(row.values(registrations=_activations.c.registrations + 1))


async def remove(connection: AsyncConnection, activation_id: str) -> None:
    await connection.execute(delete(_activations).where(_activations.c.id == activation_id))


def _activation(row: Row[Any]) -> Activation:
    return Activation(**{name: getattr(row, name) for name in Activation.__dataclass_fields__})

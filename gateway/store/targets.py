"""Where just-in-time access is enabled (R4)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables, upsert

_targets = tables.targets


@dataclass(frozen=True, slots=True)
class Target:
    """An account and Region, perhaps placed in an organizational unit. One that is not listed is disabled."""

    account: str
    region: str
    organizational_unit: str
    enabled: bool
    changed_at: datetime
    changed_by: str


async def is_enabled(connection: AsyncConnection, account: str, region: str) -> bool:
    target = await get(connection, account, region)
    return target is not None and target.enabled


async def get(
    connection: AsyncConnection, account: str, region: str, *, for_update: bool = False
) -> Target | None:
    query = select(_targets).where(_targets.c.account == account, _targets.c.region == region)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _target(row)


async def all_targets(connection: AsyncConnection) -> list[Target]:
    """Every target, ordered by account and Region."""
    query = select(_targets).order_by(_targets.c.account, _targets.c.region)
    return [_target(row) for row in await connection.execute(query)]


async def of_unit(connection: AsyncConnection, organizational_unit: str, region: str) -> list[Target]:
    """The targets placed in a unit, in one Region or ("") in all of them; locked."""
    query = select(_targets).where(_targets.c.organizational_unit == organizational_unit)
    if region:
        query = query.where(_targets.c.region == region)
    query = query.order_by(_targets.c.account, _targets.c.region).with_for_update()
    return [_target(row) for row in await connection.execute(query)]


async def put(connection: AsyncConnection, target: Target) -> None:
    """Adds or replaces a target."""
    values = {
        "organizational_unit": target.organizational_unit,
        "enabled": target.enabled,
        "changed_at": target.changed_at,
        "changed_by": target.changed_by,
    }
    await upsert.put(connection, _targets, {"account": target.account, "region": target.region}, values)


def _target(row: Row[Any]) -> Target:
    return Target(
        account=row.account,
        region=row.region,
        organizational_unit=row.organizational_unit,
        enabled=row.enabled,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )

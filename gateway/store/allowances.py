"""What of AWS each account may use (R26)."""

from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.places.model import Allowance, AllowanceKind
from gateway.store import tables, upsert

_rows = tables.allowances


async def get(
    connection: AsyncConnection, account: str, kind: AllowanceKind, name: str, *, for_update: bool = False
) -> Allowance | None:
    query = select(_rows).where(_rows.c.account == account, _rows.c.kind == kind.value, _rows.c.name == name)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    return None if row is None else _from_row(row)


async def of(connection: AsyncConnection, account: str = "") -> list[Allowance]:
    """Those of an account, or ("") all, by account, kind and name."""
    query = select(_rows).order_by(_rows.c.account, _rows.c.kind, _rows.c.name)
    if account:
        query = query.where(_rows.c.account == account)
    return [_from_row(row) for row in await connection.execute(query)]


async def put(connection: AsyncConnection, new: Allowance) -> None:
    """Adds it, or replaces the one of that account, kind and name."""
    values = {
        "owner": new.owner,
        "aws_region": new.aws_region,
        "external_id": new.external_id,
        "changed_at": new.changed_at,
        "changed_by": new.changed_by,
    }
    key = {"account": new.account, "kind": new.kind.value, "name": new.name}
    await upsert.put(connection, _rows, key, values)


async def remove(connection: AsyncConnection, old: Allowance) -> None:
    await connection.execute(
        delete(_rows).where(
            _rows.c.account == old.account, _rows.c.kind == old.kind.value, _rows.c.name == old.name
        )
    )


def _from_row(row: Row[Any]) -> Allowance:
    return Allowance(
        account=row.account,
        kind=AllowanceKind(row.kind),
        name=row.name,
        owner=row.owner,
        aws_region=row.aws_region,
        external_id=row.external_id,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )

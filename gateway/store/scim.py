"""What identity providers say of people and groups by SCIM, each provider's apart (R31)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.scim_tables import scim_groups, scim_members, scim_users


class Resources:
    """The resources of one kind. Every query is for one issuer: what is another's is not there."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, connection: AsyncConnection, issuer: str, resource_id: str) -> Row[Any] | None:
        query = select(self._table).where(self._table.c.issuer == issuer, self._table.c.id == resource_id)
        return (await connection.execute(query)).one_or_none()

    async def page(
        self, connection: AsyncConnection, issuer: str, equal: Mapping[str, str], offset: int, limit: int
    ) -> Sequence[Row[Any]]:
        """By id; those whose columns are so."""
        query = select(self._table).where(*self._those(issuer, equal)).order_by(self._table.c.id)
        return (await connection.execute(query.offset(offset).limit(limit))).all()

    async def count(self, connection: AsyncConnection, issuer: str) -> int:
        query = select(func.count()).select_from(self._table).where(*self._those(issuer, {}))
        return await connection.scalar(query) or 0

    async def add(self, connection: AsyncConnection, **values: Any) -> None:
        await connection.execute(insert(self._table).values(values))

    async def change(self, connection: AsyncConnection, resource_id: str, **values: Any) -> None:
        await connection.execute(update(self._table).where(self._table.c.id == resource_id).values(values))

    async def remove(self, connection: AsyncConnection, resource_id: str) -> None:
        """With its memberships."""
        await connection.execute(delete(self._table).where(self._table.c.id == resource_id))

    def _those(self, issuer: str, equal: Mapping[str, str]) -> list[ColumnElement[bool]]:
        return [self._table.c.issuer == issuer, *(self._table.c[name] == value for name, value in equal.items())]


people = Resources(scim_users)
groups = Resources(scim_groups)


async def is_inactive(connection: AsyncConnection, user_id: str) -> bool:
    """Whether the provider says that the user is not to be let in."""
    active = await connection.scalar(select(scim_users.c.is_active).where(scim_users.c.id == user_id))
    return active is False


async def members(connection: AsyncConnection, group_ids: Collection[str]) -> dict[str, list[str]]:
    """Group -> ids of its members, in order."""
    query = select(scim_members).where(scim_members.c.scim_group.in_(group_ids)).order_by(scim_members.c.user_id)
    found: dict[str, list[str]] = {group: [] for group in group_ids}
    for row in await connection.execute(query):
        found[row.scim_group].append(row.user_id)
    return found


async def groups_of(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, list[Any]]:
    """User -> the groups (`id`, `document`, `group_id`), in order."""
    query = (
        select(scim_members.c.user_id, scim_groups.c.id, scim_groups.c.document, scim_groups.c.group_id)
        .join(scim_groups, scim_groups.c.id == scim_members.c.scim_group)
        .where(scim_members.c.user_id.in_(user_ids))
        .order_by(scim_groups.c.id)
    )
    found: dict[str, list[Any]] = {user: [] for user in user_ids}
    for row in await connection.execute(query):
        found[row.user_id].append(row)
    return found


async def known(connection: AsyncConnection, issuer: str, user_ids: Collection[str]) -> frozenset[str]:
    """Those of them whom the issuer describes."""
    query = select(scim_users.c.id).where(scim_users.c.issuer == issuer, scim_users.c.id.in_(user_ids))
    return frozenset(await connection.scalars(query))


async def join(connection: AsyncConnection, group: str, user_ids: Collection[str]) -> None:
    if user_ids:
        rows = [{"scim_group": group, "user_id": user_id} for user_id in sorted(user_ids)]
        await connection.execute(insert(scim_members), rows)


async def leave(connection: AsyncConnection, group: str, user_ids: Collection[str]) -> None:
    these = (scim_members.c.scim_group == group, scim_members.c.user_id.in_(user_ids))
    await connection.execute(delete(scim_members).where(*these))

"""Who holds which role where (R32)."""

from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import EVERYWHERE, Role, RoleGrant
from gateway.store import tables

_grants = tables.role_grants
_users = tables.users
_memberships = tables.memberships


async def all_grants(connection: AsyncConnection) -> list[RoleGrant]:
    """Every grant, ordered by holder, role and place."""
    keys = (_grants.c.holder_type, _grants.c.holder_id, _grants.c.role, _grants.c.account, _grants.c.region)
    return [grant_from(row) for row in await connection.execute(select(_grants).order_by(*keys))]


async def find(connection: AsyncConnection, grant: RoleGrant) -> RoleGrant | None:
    """The stored grant of the same holder, role and place, locked."""
    query = select(_grants).where(_same(grant)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else grant_from(row)


async def add(connection: AsyncConnection, grant: RoleGrant) -> None:
    """A grant that is not there yet."""
    await connection.execute(
        insert(_grants).values(
            holder_type=grant.holder_type,
            holder_id=grant.holder_id,
            role=grant.role.value,
            account=grant.account,
            region=grant.region,
            policy_kinds=sorted(grant.policy_kinds),
        )
    )


async def set_policy_kinds(connection: AsyncConnection, grant: RoleGrant) -> None:
    kinds = sorted(grant.policy_kinds)
    await connection.execute(update(_grants).where(_same(grant)).values(policy_kinds=kinds))


async def remove(connection: AsyncConnection, grant: RoleGrant) -> None:
    await connection.execute(delete(_grants).where(_same(grant)))


async def remove_of_user(connection: AsyncConnection, user_id: str) -> None:
    own = and_(_grants.c.holder_type == "user", _grants.c.holder_id == user_id)
    await connection.execute(delete(_grants).where(own))


async def lock_administrators(connection: AsyncConnection) -> None:
    """Makes whoever else takes an administrator away wait for this transaction. Call it before the change."""
    query = select(_grants.c.holder_id).where(_administers()).order_by(_grants.c.holder_type, _grants.c.holder_id)
    await connection.execute(query.with_for_update())


async def administrators(connection: AsyncConnection, *, even_locked: bool = False) -> frozenset[str]:
    """Ids of those who can administer the organization now: neither removed nor (unless asked for) locked."""
    own = and_(_grants.c.holder_type == "user", _grants.c.holder_id == _users.c.id)
    groups = select(_memberships.c.group_id).where(_memberships.c.user_id == _users.c.id).scalar_subquery()
    shared = and_(_grants.c.holder_type == "group", _grants.c.holder_id.in_(groups))
    holds = select(_grants.c.holder_id).where(_administers(), or_(own, shared)).exists()
    query = select(_users.c.id).where(_users.c.removed_at.is_(None), holds)
    if not even_locked:
        query = query.where(_users.c.locked_at.is_(None))
    return frozenset(await connection.scalars(query))


def grant_from(row: Row[Any]) -> RoleGrant:
    return RoleGrant(
        holder_type=row.holder_type,
        holder_id=row.holder_id,
        role=Role(row.role),
        account=row.account,
        region=row.region,
        policy_kinds=frozenset(row.policy_kinds),
    )


def _same(grant: RoleGrant) -> ColumnElement[bool]:
    return and_(
        _grants.c.holder_type == grant.holder_type,
        _grants.c.holder_id == grant.holder_id,
        _grants.c.role == grant.role.value,
        _grants.c.account == grant.account,
        _grants.c.region == grant.region,
    )


def _administers() -> ColumnElement[bool]:
    return and_(
        _grants.c.role == Role.ORGANIZATION_ADMINISTRATOR.value,
        _grants.c.account == EVERYWHERE,
        _grants.c.region == EVERYWHERE,
    )

"""The directory's people and their groups (R31)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Row,
    Select,
    String,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import LOCAL_ISSUER, RoleGrant, User, is_user_id
from gateway.store import roles, scim_tables, tables

_users = tables.users
_memberships = tables.memberships
_grants = tables.role_grants
_scim_users = scim_tables.scim_users
_scim_tokens = scim_tables.scim_tokens

# Of people whom their provider describes by SCIM: until when it can, by a token that it did use.
_provisioned_until = (
    select(func.max(_scim_tokens.c.expires_at))
    .join_from(_scim_users, _scim_tokens, _scim_tokens.c.issuer == _scim_users.c.issuer)
    .where(_scim_users.c.id == _users.c.id, _scim_tokens.c.last_used_at.is_not(None))
    .scalar_subquery()
    .label("provisioned_until")
)


async def get(
    connection: AsyncConnection, user_id: str, now: datetime, *, for_update: bool = False
) -> User | None:
    """The user, removed ones included. None: the id was never used."""
    if not is_user_id(user_id):
        return None  # whatever was typed: not every database can even ask for it
    query = select(_users, _provisioned_until).where(_users.c.id == user_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    if row is None:
        return None
    groups = await connection.scalars(select(_memberships.c.group_id).where(_memberships.c.user_id == user_id))
    return _user(row, frozenset(groups), now)


async def by_subject(connection: AsyncConnection, issuer: str, subject: str, now: datetime) -> User | None:
    """The user that the issuer calls so, locked where the transaction writes, removed ones included."""
    query = select(_users.c.id).where(_users.c.issuer == issuer, _users.c.subject == subject)
    user_id = await connection.scalar(query)
    return None if user_id is None else await get(connection, user_id, now, for_update=True)


def _identity_query() -> Select[Any]:
    who: BindParameter[str] = bindparam("who", type_=String)
    holders = union_all(
        select(literal("user").label("type"), who.label("id")),
        select(literal("group"), _memberships.c.group_id).where(_memberships.c.user_id == who),
    ).subquery("holders")
    return (
        select(
            _users,
            _provisioned_until,
            holders.c.type.label("holder"),
            holders.c.id.label("holder_name"),
            *_grants.c,
        )
        .join_from(_users, holders, true())
        .outerjoin(_grants, and_(_grants.c.holder_type == holders.c.type, _grants.c.holder_id == holders.c.id))
        .where(_users.c.id == who)
    )


_IDENTITY: Final = _identity_query()  # made once: making it takes longer than asking the database


async def identity(
    connection: AsyncConnection, user_id: str, now: datetime
) -> tuple[User, tuple[RoleGrant, ...]] | None:
    """The user with all grants, own and of groups, in one query: this runs at every call. None as in `get`."""
    rows = (await connection.execute(_IDENTITY, {"who": user_id})).all()
    if not rows:
        return None
    groups = frozenset(row.holder_name for row in rows if row.holder == "group")
    grants = tuple(roles.grant_from(row) for row in rows if row.role is not None)
    return _user(rows[0], groups, now), grants


async def page(
    connection: AsyncConnection,
    now: datetime,
    *,
    group_id: str = "",
    include_inactive: bool = False,
    after: str = "",
    limit: int = 100,
) -> list[User]:
    """Users by id, beginning after the id `after`; of one group, or of all."""
    query = select(_users, _provisioned_until).where(_users.c.id > after).order_by(_users.c.id).limit(limit)
    if group_id:
        member = select(_memberships.c.user_id).where(_memberships.c.group_id == group_id)
        query = query.where(_users.c.id.in_(member))
    if not include_inactive:
        query = query.where(_users.c.removed_at == null())
    rows = (await connection.execute(query)).all()
    members = select(_memberships).where(_memberships.c.user_id.in_([row.id for row in rows]))
    groups: dict[str, set[str]] = {}
    for membership in await connection.execute(members):
        groups.setdefault(membership.user_id, set()).add(membership.group_id)
    return [_user(row, frozenset(groups.get(row.id, ())), now) for row in rows]


async def groups_of(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, set[str]]:
    """User -> groups, of those who are not removed; their rows are locked."""
    there = select(_users.c.id).where(_users.c.id.in_(user_ids), _users.c.removed_at == null())
    rows = await connection.scalars(there.order_by(_users.c.id).with_for_update())
    found: dict[str, set[str]] = {user_id: set() for user_id in rows}
    members = select(_memberships).where(_memberships.c.user_id.in_(user_ids))
    for row in await connection.execute(members):
        if row.user_id in found:
            found[row.user_id].add(row.group_id)
    return found


async def add(connection: AsyncConnection, user: User) -> None:
    """A new user with the groups. The id must be free."""
    await connection.execute(
        insert(_users).values(
            id=user.id,
            issuer=user.issuer,
            subject=user.subject,
            display_name=user.display_name,
            attributes=dict(user.attributes),
            principal_tags=dict(user.principal_tags),
            created_at=user.created_at,
            membership_checked_at=user.membership_checked_at,
        )
    )
    await join(connection, user.id, user.groups)


async def describe(
    connection: AsyncConnection, user_id: str, display_name: str, attributes: Mapping[str, str]
) -> None:
    await _set(connection, user_id, display_name=display_name, attributes=dict(attributes))


async def confirm(connection: AsyncConnection, user: User) -> None:
    """What the source of the user just said: name, attributes, principal tags, and that the groups are so."""
    await _set(
        connection,
        user.id,
        display_name=user.display_name,
        attributes=dict(user.attributes),
        principal_tags=dict(user.principal_tags),
        membership_checked_at=user.membership_checked_at,
    )


async def join(connection: AsyncConnection, user_id: str, groups: Collection[str]) -> None:
    """Makes the user a member of groups that it is not in yet."""
    if groups:
        rows = [{"group_id": group, "user_id": user_id} for group in sorted(groups)]
        await connection.execute(insert(_memberships), rows)


async def leave(connection: AsyncConnection, user_id: str, groups: Collection[str]) -> None:
    await connection.execute(
        delete(_memberships).where(_memberships.c.user_id == user_id, _memberships.c.group_id.in_(groups))
    )


async def lock(connection: AsyncConnection, user_id: str, at: datetime, by: str, reason: str) -> None:
    await _set(connection, user_id, locked_at=at, locked_by=by, lock_reason=reason, certificates_from=at)


async def void_certificates(connection: AsyncConnection, user_id: str, at: datetime) -> None:
    """What was certified before that moment proves nobody any more."""
    await _set(connection, user_id, certificates_from=at)


async def unlock(connection: AsyncConnection, user_id: str) -> None:
    await _set(connection, user_id, locked_at=None, locked_by=None, lock_reason=None)


async def remove(connection: AsyncConnection, user_id: str, at: datetime) -> None:
    """Deactivates for good. The row stays, so that the id is never used again."""
    await _set(connection, user_id, removed_at=at)
    await connection.execute(delete(_memberships).where(_memberships.c.user_id == user_id))


async def signed_in(connection: AsyncConnection, user_id: str, at: datetime) -> None:
    await _set(connection, user_id, last_sign_in_at=at)


async def _set(connection: AsyncConnection, user_id: str, **values: Any) -> None:
    await connection.execute(update(_users).where(_users.c.id == user_id).values(**values))


def _user(row: Row[Any], groups: frozenset[str], now: datetime) -> User:
    checked_at = row.membership_checked_at
    if row.issuer == LOCAL_ISSUER:
        checked_at = now
    elif row.provisioned_until is not None:
        # A provider that can tell of every change confirms by saying nothing, for as long as it can.
        checked_at = max(checked_at, min(now, row.provisioned_until))
    return User(
        id=row.id,
        issuer=row.issuer,
        subject=row.subject,
        display_name=row.display_name,
        groups=groups,
        attributes=row.attributes,
        created_at=row.created_at,
        membership_checked_at=checked_at,
        last_sign_in_at=row.last_sign_in_at,
        removed_at=row.removed_at,
        locked_at=row.locked_at,
        locked_by=row.locked_by or "",
        lock_reason=row.lock_reason or "",
        principal_tags=row.principal_tags,
        certificates_from=row.certificates_from,
        provisioned=row.provisioned_until is not None and row.provisioned_until > now,
    )

"""Policies and their versions. Versions go on after a deletion, so that a number never means two texts (R21)."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.model import PolicyKey, StoredPolicy
from gateway.identity.model import EVERYWHERE
from gateway.store import tables, turns
from policy.model import PolicyKind

_heads = tables.policies
_versions = tables.policy_versions


async def lock_scope(connection: AsyncConnection, account: str, region: str) -> None:
    """One change at a time in a scope: overlap and limits are about policies that are not there yet."""
    await turns.take(connection, _turn(account, region))


async def hold_scope(connection: AsyncConnection, account: str, region: str) -> None:
    """Makes whoever changes what decides in that scope wait for this transaction."""
    await turns.share(connection, _turn(account, region), _turn(EVERYWHERE, EVERYWHERE))


async def lock_head(connection: AsyncConnection, key: PolicyKey) -> tuple[int, bool]:
    """The last version that was ever stored (0: none), and whether it is in force (not deleted)."""
    query = select(_heads.c.version, _heads.c.deleted_at).where(_is(_heads, key)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return (0, False) if row is None else (row.version, row.deleted_at is None)


async def add_version(connection: AsyncConnection, new: StoredPolicy) -> None:
    """Puts a version in force; it is one more than `lock_head` said."""
    identity = _identity(new.key)
    if new.version == 1:
        await connection.execute(insert(_heads).values(**identity, version=1, deleted_at=None))
    else:
        head = update(_heads).where(_is(_heads, new.key), _heads.c.version == new.version - 1)
        await connection.execute(head.values(version=new.version, deleted_at=None))
    await connection.execute(
        insert(_versions).values(
            **identity,
            version=new.version,
            text=new.text,
            description=new.description,
            author_id=new.author_id,
            created_at=new.created_at,
        )
    )


async def remove(connection: AsyncConnection, key: PolicyKey, now: datetime) -> None:
    await connection.execute(update(_heads).where(_is(_heads, key)).values(deleted_at=now))


async def get(connection: AsyncConnection, key: PolicyKey, version: int = 0) -> StoredPolicy | None:
    """That version, also of a deleted policy; 0: the one in force."""
    if version:
        query = select(_versions).where(_is(_versions, key), _versions.c.version == version)
    else:
        query = _in_force().where(_is(_heads, key))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _from_row(row)


async def in_force(connection: AsyncConnection, account: str, region: str) -> list[tuple[PolicyKey, int]]:
    """What decides in that scope, and in which version: the organization's deny, the scope's auto and manual ones.

    Without texts: those are read once and kept compiled.
    """
    query = select(_heads).where(_heads.c.deleted_at.is_(None), _decides_in(account, region))
    query = query.order_by(_heads.c.kind, _heads.c.name)
    return [
        (PolicyKey(PolicyKind(row.kind), row.account, row.region, row.name), row.version)
        for row in await connection.execute(query)
    ]


async def newest(
    connection: AsyncConnection,
    scope: tuple[str, str],
    kinds: frozenset[PolicyKind],
    limit: int,
    after: tuple[datetime, str, str] | None = None,
) -> list[StoredPolicy]:
    """Policies in force of these kinds in that scope, newest first, from (created_at, kind, name) on."""
    query = (
        _in_force()
        .where(_decides_in(*scope), _heads.c.kind.in_([kind.value for kind in kinds]))
        .order_by(_versions.c.created_at.desc(), _versions.c.kind, _versions.c.name)
        .limit(limit)
    )
    if after is not None:
        created_at, kind, name = after
        query = query.where(
            or_(
                _versions.c.created_at < created_at,
                and_(
                    _versions.c.created_at == created_at,
                    tuple_(_versions.c.kind, _versions.c.name) > tuple_(kind, name),
                ),
            )
        )
    return [_from_row(row) for row in await connection.execute(query)]


async def versions(
    connection: AsyncConnection, key: PolicyKey, limit: int, below: int | None = None
) -> list[StoredPolicy]:
    """All versions of one policy, newest first, from those below `below` on."""
    query = select(_versions).where(_is(_versions, key)).order_by(_versions.c.version.desc()).limit(limit)
    if below is not None:
        query = query.where(_versions.c.version < below)
    return [_from_row(row) for row in await connection.execute(query)]


def _turn(account: str, region: str) -> str:
    return f"policies {account} {region}"


def _decides_in(account: str, region: str) -> ColumnElement[bool]:
    deny = PolicyKind.DENY.value
    return or_(
        _heads.c.kind == deny,
        and_(_heads.c.kind != deny, _heads.c.account == account, _heads.c.region == region),
    )


def _in_force() -> Select[Any]:
    same = and_(
        _versions.c.kind == _heads.c.kind,
        _versions.c.account == _heads.c.account,
        _versions.c.region == _heads.c.region,
        _versions.c.name == _heads.c.name,
        _versions.c.version == _heads.c.version,
    )
    return select(_versions).join(_heads, same).where(_heads.c.deleted_at.is_(None))


def _identity(key: PolicyKey) -> dict[str, str]:
    return {"kind": key.kind.value, "account": key.account, "region": key.region, "name": key.name}


def _is(table: Any, key: PolicyKey) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _identity(key).items()))


def _from_row(row: Row[Any]) -> StoredPolicy:
    return StoredPolicy(
        key=PolicyKey(PolicyKind(row.kind), row.account, row.region, row.name),
        version=row.version,
        text=row.text,
        description=row.description,
        author_id=row.author_id,
        created_at=row.created_at,
    )

"""What signing in needs to remember: passwords, failures, accustomed sources, administrator codes."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import is_user_id
from gateway.store import tables, turns
from gateway.store.upsert import put

_passwords = tables.passwords
_failures = tables.sign_in_failures
_sources = tables.sign_in_sources
_codes = tables.administrator_codes


@dataclass(frozen=True, slots=True)
class Password:
    """A password as it is stored. `must_change`: somebody else chose it."""

    hash: str = field(repr=False)
    must_change: bool


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures in a row under one key."""

    count: int
    last_at: datetime
    blocked_until: datetime | None = None


async def password(connection: AsyncConnection, user_id: str) -> Password | None:
    if not is_user_id(user_id):
        return None  # whatever was typed: not every database can even ask for it
    row = (await connection.execute(select(_passwords).where(_passwords.c.user_id == user_id))).one_or_none()
    return None if row is None else Password(row.hash, row.must_change)


async def set_password(connection: AsyncConnection, user_id: str, new: Password, at: datetime) -> None:
    values = {"hash": new.hash, "must_change": new.must_change, "changed_at": at}
    await put(connection, _passwords, {"user_id": user_id}, values)


async def remove_user(connection: AsyncConnection, user_id: str) -> None:
    """Forgets the password and the accustomed sources."""
    await connection.execute(delete(_passwords).where(_passwords.c.user_id == user_id))
    await connection.execute(delete(_sources).where(_sources.c.user_id == user_id))


async def failures(connection: AsyncConnection, keys: Collection[str]) -> dict[str, Failures]:
    """What is known under each of `keys`."""
    rows = await connection.execute(select(_failures).where(_failures.c.key.in_(keys)))
    return {row.key: Failures(row.failures, row.last_at, row.blocked_until) for row in rows}


async def lock_failures(connection: AsyncConnection, keys: Collection[str]) -> dict[str, Failures]:
    """As `failures`, and nobody else counts under these keys, known or not, before the transaction ends."""
    await turns.take(connection, *(f"failures {key}" for key in keys))
    return await failures(connection, keys)


async def set_failures(connection: AsyncConnection, key: str, new: Failures) -> None:
    values = {"failures": new.count, "last_at": new.last_at, "blocked_until": new.blocked_until}
    await put(connection, _failures, {"key": key}, values)


async def forget_failures(connection: AsyncConnection, keys: Collection[str]) -> None:
    await turns.take(connection, *(f"failures {key}" for key in keys))
    await connection.execute(delete(_failures).where(_failures.c.key.in_(keys)))


async def forget_failures_before(connection: AsyncConnection, at: datetime) -> None:
    await connection.execute(delete(_failures).where(_failures.c.last_at < at))


async def is_accustomed(connection: AsyncConnection, user_id: str, source: str, since: datetime) -> bool:
    """Whether the user has signed in from there after `since`."""
    if not is_user_id(user_id):
        return False
    query = select(_sources.c.user_id).where(
        _sources.c.user_id == user_id, _sources.c.source == source, _sources.c.last_at > since
    )
    return (await connection.execute(query)).one_or_none() is not None


async def signed_in_from(
    connection: AsyncConnection, user_id: str, source: str, at: datetime, forget_before: datetime
) -> None:
    """Remembers where from, and forgets sources of the user that were last used before `forget_before`."""
    old = and_(_sources.c.user_id == user_id, _sources.c.last_at < forget_before)
    await connection.execute(delete(_sources).where(old))
    await put(connection, _sources, {"user_id": user_id, "source": source}, {"last_at": at})


async def add_code(connection: AsyncConnection, code_hash: str, expires_at: datetime) -> None:
    """A new administrator code. Older ones stop working."""
    await turns.take(connection, "administrator codes")
    await connection.execute(delete(_codes))
    await connection.execute(insert(_codes).values(hash=code_hash, expires_at=expires_at))


async def code_works(connection: AsyncConnection, code_hash: str, now: datetime) -> bool:
    query = select(_codes.c.hash).where(
        _codes.c.hash == code_hash, _codes.c.used_at.is_(None), _codes.c.expires_at > now
    )
    return (await connection.execute(query)).one_or_none() is not None


async def use_code(connection: AsyncConnection, code_hash: str, now: datetime) -> bool:
    """Uses the code up. False: it does not work, or somebody else was faster."""
    used = await connection.execute(
        update(_codes)
        .where(_codes.c.hash == code_hash, _codes.c.used_at.is_(None), _codes.c.expires_at > now)
        .values(used_at=now)
    )
    return used.rowcount == 1

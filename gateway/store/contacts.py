"""Where people can be reached, by kind of channel: "email", "slack", "teams", or a third party's."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables
from gateway.store.upsert import put as put_row

_contacts = tables.contacts


@dataclass(frozen=True, slots=True)
class Contact:
    """`key` says whose the address is in that kind of channel: one person's only. `linked_by`: "link", "claim",
    "scim", or the administrator's id."""

    user_id: str
    kind: str
    key: str
    address: Mapping[str, str]
    linked_by: str
    linked_at: datetime


class Taken(Exception):
    """The address is another person's."""


async def put(connection: AsyncConnection, contact: Contact) -> None:
    """Sets or replaces the person's one address of that kind. Raises Taken; the transaction is lost then.

    What was somebody's who was removed is theirs no more: they can't give it up, and may be here under another id.
    """
    removed = select(tables.users.c.id).where(tables.users.c.removed_at.is_not(None))
    left = (_contacts.c.kind == contact.kind, _contacts.c.key == contact.key, _contacts.c.user_id.in_(removed))
    await connection.execute(delete(_contacts).where(*left))
    key = {"user_id": contact.user_id, "kind": contact.kind}
    values = {
        "key": contact.key,
        "address": dict(contact.address),
        "linked_by": contact.linked_by,
        "linked_at": contact.linked_at,
    }
    try:
        await put_row(connection, _contacts, key, values)
    except IntegrityError:
        raise Taken from None


async def remove(connection: AsyncConnection, user_id: str, kind: str) -> bool:
    result = await connection.execute(
        delete(_contacts).where(_contacts.c.user_id == user_id, _contacts.c.kind == kind)
    )
    return result.rowcount > 0


async def of_user(connection: AsyncConnection, user_id: str) -> list[Contact]:
    query = select(_contacts).where(_contacts.c.user_id == user_id).order_by(_contacts.c.kind)
    return [_contact(row) for row in await connection.execute(query)]


async def by_key(connection: AsyncConnection, kind: str, key: str) -> Contact | None:
    """Whose address that is."""
    query = select(_contacts).where(_contacts.c.kind == kind, _contacts.c.key == key)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _contact(row)


async def is_anothers(connection: AsyncConnection, kind: str, key: str, user_id: str) -> bool:
    """Whether `put` would raise Taken for that person."""
    users = tables.users.c
    query = (
        select(_contacts.c.user_id)
        .join(tables.users, users.id == _contacts.c.user_id)
        .where(_contacts.c.kind == kind, _contacts.c.key == key)
        .where(users.id != user_id, users.removed_at.is_(None))
    )
    return (await connection.execute(query)).first() is not None


async def addresses(
    connection: AsyncConnection, kind: str, user_ids: Collection[str]
) -> dict[str, Mapping[str, str]]:
    """The addresses of those who have one; whoever was removed has left, and is told nothing there any more."""
    users = tables.users.c
    query = (
        select(_contacts.c.user_id, _contacts.c.address)
        .join(tables.users, users.id == _contacts.c.user_id)
        .where(_contacts.c.kind == kind, users.id.in_(list(user_ids)), users.removed_at.is_(None))
    )
    return {row.user_id: row.address for row in await connection.execute(query)}


def _contact(row: Row[tuple[object, ...]]) -> Contact:
    return Contact(row.user_id, row.kind, row.key, row.address, row.linked_by, row.linked_at)

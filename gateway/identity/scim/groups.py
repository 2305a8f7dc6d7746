"""A provider's groups, and who is in which group of the directory by them (R17, R31)."""

import secrets
from collections.abc import Collection, Sequence
from typing import Any

from scim2_models import InvalidValueException, NotFoundException, Reference, UniquenessException
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.directory import MAXIMUM_GROUPS
from gateway.identity.model import is_group_id
from gateway.identity.oidc.claims import known_group
from gateway.identity.scim.feed import Feed, checked_text
from gateway.identity.scim.form import kept, key_of, restored
from gateway.identity.scim.resources import Group, Member
from gateway.store import directory, scim
from gateway.store.database import Transaction

KEYS = {"id": "id", "display_name": "name_key", "external_id": "external_id"}
"""Attribute -> the column that finds it."""
MAXIMUM_MEMBERS = 5000


async def described(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Any]:
    """The resources, with their members."""
    members = await scim.members(connection, [row.id for row in rows])
    found = []
    for row in rows:
        group = restored(Group, "Group", row)
        group.members = [
            Member(value=user_id, ref=Reference(f"Users/{user_id}")) for user_id in members[row.id]
        ] or None
        found.append(group)
    return found


async def create(tx: Transaction, feed: Feed, group: Any) -> str:
    """The id of the new group."""
    key = await _free_key(tx, feed, group, "")
    group_id = f"grp-{secrets.token_hex(6)}"
    named = group_id_of(feed, group)
    await scim.groups.add(
        tx.connection,
        id=group_id,
        issuer=feed.issuer,
        created_at=feed.now,
        **_columns(feed, group, key, named),
    )
    members = await _members(tx, feed, group)
    await scim.join(tx.connection, group_id, members)
    await feed.tell(
        tx,
        "group.created",
        group_id,
        f"created the group {group.display_name}",
        group=named,
        joined=sorted(members),
    )
    await regroup(tx, feed, members)
    return group_id


async def update(tx: Transaction, feed: Feed, group: Any) -> None:
    group_id = str(group.id)
    row = await scim.groups.get(tx.connection, feed.issuer, group_id)
    if row is None:
        raise missing(group_id)
    key = await _free_key(tx, feed, group, group_id)
    named = group_id_of(feed, group)
    await scim.groups.change(tx.connection, group_id, **_columns(feed, group, key, named))
    before = frozenset((await scim.members(tx.connection, [group_id]))[group_id])
    after = await _members(tx, feed, group)
    await scim.join(tx.connection, group_id, after - before)
    await scim.leave(tx.connection, group_id, before - after)
    await feed.tell(
        tx,
        "group.updated",
        group_id,
        f"changed the group {group.display_name}",
        group=named,
        group_before=row.group_id,
        joined=sorted(after - before),
        left=sorted(before - after),
    )
    await regroup(tx, feed, before | after if named != row.group_id else before ^ after)


async def delete(tx: Transaction, feed: Feed, group_id: str) -> None:
    row = await scim.groups.get(tx.connection, feed.issuer, group_id)
    if row is None:
        raise missing(group_id)
    members = (await scim.members(tx.connection, [group_id]))[group_id]
    await scim.groups.remove(tx.connection, group_id)
    did = f"removed the group {row.document['displayName']}"
    await feed.tell(tx, "group.removed", group_id, did, group=row.group_id, left=members)
    await regroup(tx, feed, members)


async def regroup(tx: Transaction, feed: Feed, user_ids: Collection[str]) -> None:
    """Puts people into the groups that the provider says, and out of all others; what rests on them is redecided.

    Raises InvalidValueException when somebody would be in too many.
    """
    said = await scim.groups_of(tx.connection, user_ids)
    for user_id, current in (await directory.groups_of(tx.connection, user_ids)).items():
        wanted = {group.group_id for group in said[user_id] if group.group_id}
        if len(wanted) > MAXIMUM_GROUPS:
            raise InvalidValueException(detail=f"{user_id} would be in more than {MAXIMUM_GROUPS} groups")
        if wanted != current:
            await directory.join(tx.connection, user_id, wanted - current)
            await directory.leave(tx.connection, user_id, current - wanted)
            await feed.ender.groups_changed(tx, user_id, feed.actor)


def group_id_of(feed: Feed, group: Any) -> str:
    """What policies call it; empty: it counts for nothing. The configuration may name it by either id."""
    by_external_id = feed.claims.group_names.get(group.external_id or "", "")
    named = feed.claims.group_prefix + (by_external_id or known_group(group.display_name, feed.claims))
    return named if named != feed.claims.group_prefix and is_group_id(named) else ""


def missing(group_id: str) -> NotFoundException:
    return NotFoundException(detail=f"there is no group {group_id!r}")


async def _free_key(tx: Transaction, feed: Feed, group: Any, group_id: str) -> str:
    """Policies name groups: two of one name would be one. Raises UniquenessException."""
    checked_text("externalId", group.external_id)
    key = checked_text("displayName", key_of(checked_text("displayName", group.display_name)))
    found = await scim.groups.page(tx.connection, feed.issuer, {"name_key": key}, 0, 1)
    if found and found[0].id != group_id:
        raise UniquenessException(detail=f"displayName {group.display_name!r} is taken")
    return key


async def _members(tx: Transaction, feed: Feed, group: Any) -> frozenset[str]:
    """Raises InvalidValueException for whom the provider has not described."""
    wanted = frozenset(member.value for member in group.members or () if member.value)
    if len(wanted) > MAXIMUM_MEMBERS:
        raise InvalidValueException(detail=f"a group has at most {MAXIMUM_MEMBERS} members")
    if not all(user_id.isprintable() for user_id in wanted):
        raise InvalidValueException(detail="members has a value that is no id")
    unknown = wanted - await scim.known(tx.connection, feed.issuer, wanted)
    if unknown:
        raise InvalidValueException(detail=f"members has {min(unknown)!r}, who is no user of this provider")
    return wanted


def _columns(feed: Feed, group: Any, key: str, named: str) -> dict[str, Any]:
    return {
        "name_key": key,
        "external_id": group.external_id or "",
        "group_id": named,
        "document": kept(group),
        "changed_at": feed.now,
    }

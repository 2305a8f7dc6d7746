"""People as a provider describes them by SCIM become, and are, users of the directory (R31)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scim2_models import (
    GroupMembership,
    InvalidValueException,
    MutabilityException,
    NotFoundException,
    Reference,
    UniquenessException,
)
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import User
from gateway.identity.oidc.claims import user_id_from
from gateway.identity.scim.feed import SCIM_ACTOR, Feed, checked_text
from gateway.identity.scim.form import kept, key_of, restored
from gateway.identity.scim.resources import Enterprise, Person
from gateway.store import contacts, directory, roles, scim, sign_ins
from gateway.store.contacts import Contact
from gateway.store.database import Transaction
from notifiers.email.settings import is_address

KEYS = {"id": "id", "user_name": "name_key", "external_id": "external_id"}
"""Attribute -> the column that finds it."""
_EMAIL = "email"
_LINKED_BY = "scim"
_MAXIMUM_EMAILS = 20
_MAXIMUM_DISPLAY_NAME = 128


async def described(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Any]:
    """The resources, with their groups."""
    groups = await scim.groups_of(connection, [row.id for row in rows])
    found = []
    for row in rows:
        person = restored(Person, "User", row)
        person.groups = [
            GroupMembership(
                value=group.id,
                ref=Reference(f"Groups/{group.id}"),
                display=group.document["displayName"],
                type="direct",
            )
            for group in groups[row.id]
        ] or None
        found.append(person)
    return found


async def create(tx: Transaction, feed: Feed, person: Any) -> str:
    """The id of the user, made when there is none. From then on the groups are those that the provider says."""
    subject = _checked(feed, person)
    key = await _free_key(tx, feed, person, "")
    user = await directory.by_subject(tx.connection, feed.issuer, subject, feed.now)
    if user is None:
        user = await _new(tx, feed, person, subject)
    elif user.removed_at is not None or await scim.people.get(tx.connection, feed.issuer, user.id):
        was = "was removed here" if user.removed_at is not None else "is described already"
        raise UniquenessException(detail=f"{feed.settings.scim_subject} {subject!r} is {user.id}, who {was}")
    await scim.people.add(
        tx.connection,
        id=user.id,
        issuer=feed.issuer,
        created_at=feed.now,
        **_columns(feed, person, key),
    )
    if user.groups:
        await directory.leave(tx.connection, user.id, user.groups)
    await _follow(tx, feed, user, replace(user, groups=frozenset()), person, was_active=True)
    return user.id


async def update(tx: Transaction, feed: Feed, person: Any) -> None:
    user_id = str(person.id)
    row = await scim.people.get(tx.connection, feed.issuer, user_id)
    user = await directory.get(tx.connection, user_id, feed.now, for_update=True)
    if row is None or user is None:
        raise missing(user_id)
    if _checked(feed, person) != user.subject:
        raise MutabilityException(
            attribute=feed.settings.scim_subject,
            detail=f"{feed.settings.scim_subject} says who {user_id} is, and can't change",
        )
    key = await _free_key(tx, feed, person, user_id)
    await scim.people.change(tx.connection, user_id, **_columns(feed, person, key))
    await _follow(tx, feed, user, user, person, was_active=row.is_active)


async def delete(tx: Transaction, feed: Feed, user_id: str) -> None:
    """Removed for good, as by an administrator: the id is never used again."""
    await directory.get(tx.connection, user_id, feed.now, for_update=True)
    await directory.remove(tx.connection, user_id, feed.now)
    await roles.remove_of_user(tx.connection, user_id)
    await sign_ins.remove_user(tx.connection, user_id)
    await scim.people.remove(tx.connection, user_id)
    await _follow_email(tx, feed, user_id, [])
    await feed.ender.user_removed(tx, user_id, feed.actor)
    await feed.tell(tx, "user.removed", user_id, f"removed {user_id}")


def missing(user_id: str) -> NotFoundException:
    return NotFoundException(detail=f"there is no user {user_id!r}")


def _checked(feed: Feed, person: Any) -> str:
    """The subject. Raises InvalidValueException for what can't be kept."""
    for field, value in _texts(person).items():
        checked_text(field, value)
    if len(person.emails or ()) > _MAXIMUM_EMAILS:
        raise InvalidValueException(detail=f"there are more than {_MAXIMUM_EMAILS} emails")
    subject: str = person.user_name if feed.settings.scim_subject == "userName" else person.external_id
    return subject


def _texts(person: Any) -> dict[str, str | None]:
    emails = person.emails or ()
    return {
        "userName": person.user_name,
        "externalId": person.external_id,
        "displayName": person.display_name,
        **{f"emails[{at}].value": email.value for at, email in enumerate(emails)},
        **{f"emails[{at}].type": email.type for at, email in enumerate(emails)},
        **_attributes(person),
    }


def _attributes(person: Any) -> dict[str, str]:
    """As policies name them; what is empty is left out."""
    said: Enterprise = person[Enterprise] or Enterprise()
    found = {
        "employeeNumber": said.employee_number,
        "costCenter": said.cost_center,
        "organization": said.organization,
        "division": said.division,
    }
    return {name: value for name, value in found.items() if value}


async def _free_key(tx: Transaction, feed: Feed, person: Any, user_id: str) -> str:
    """Raises UniquenessException when another of the provider's people has that name."""
    key = checked_text("userName", key_of(person.user_name))
    found = await scim.people.page(tx.connection, feed.issuer, {"name_key": key}, 0, 1)
    if found and found[0].id != user_id:
        raise UniquenessException(detail=f"userName {person.user_name!r} is taken")
    return key


def _columns(feed: Feed, person: Any, key: str) -> dict[str, Any]:
    return {
        "name_key": key,
        "external_id": person.external_id or "",
        "is_active": person.active is not False,
        "document": kept(person),
        "changed_at": feed.now,
    }


async def _new(tx: Transaction, feed: Feed, person: Any, subject: str) -> User:
    try:
        user_id = user_id_from(person.user_name, feed.claims)
    except ValueError as why:
        raise InvalidValueException(detail=f"userName {why}") from None
    if await directory.get(tx.connection, user_id, feed.now) is not None:
        # Whoever may choose a name at a provider must not become the person who has it here.
        raise UniquenessException(detail=f"{user_id} is or was somebody else here")
    user = User(user_id, feed.issuer, subject, "", frozenset(), {}, feed.now, feed.now)
    await directory.add(tx.connection, user)
    details = {"issuer": feed.issuer, "subject": subject}
    await feed.tell(tx, "user.created", user_id, f"created {user_id}", **details)
    return user


async def _follow(tx: Transaction, feed: Feed, before: User, user: User, person: Any, *, was_active: bool) -> None:
    """The directory says what the provider says. `user` is `before` with the groups that it has by now."""
    name = "".join(part for part in person.display_name or "" if part.isprintable())[:_MAXIMUM_DISPLAY_NAME]
    after = replace(user, display_name=name, attributes=_attributes(person), membership_checked_at=feed.now)
    await directory.confirm(tx.connection, after)
    if _told(after) != _told(before):
        details = {"before": _told(before), "after": _told(after)}
        await feed.tell(tx, "user.updated", user.id, f"changed {user.id}", **details)
    if (after.groups, after.attributes) != (before.groups, before.attributes):
        await feed.ender.groups_changed(tx, user.id, feed.actor)
    await _follow_email(tx, feed, user.id, person.emails or [])
    if was_active and person.active is False:
        await _deactivate(tx, feed, user)
    elif not was_active and person.active is not False:
        await _activate(tx, feed, user)


def _told(user: User) -> dict[str, object]:
    return {
        "display_name": user.display_name,
        "groups": sorted(user.groups),
        "attributes": dict(user.attributes),
    }


async def _deactivate(tx: Transaction, feed: Feed, user: User) -> None:
    """An administrator's lock stays what it is: whoever activates the person does not undo it."""
    if user.locked_at is None:
        reason = f"deactivated at the identity provider {feed.name}"
        await directory.lock(tx.connection, user.id, feed.now, feed.actor.id, reason)
        await feed.ender.user_locked(tx, user.id, reason, feed.actor)
    await feed.tell(tx, "user.deactivated", user.id, f"deactivated {user.id}")


async def _activate(tx: Transaction, feed: Feed, user: User) -> None:
    # By any name that the provider has had: nobody else's feed describes this person.
    if user.locked_by.startswith(SCIM_ACTOR):
        await directory.unlock(tx.connection, user.id)
    await feed.tell(tx, "user.activated", user.id, f"activated {user.id}")


async def _follow_email(tx: Transaction, feed: Feed, user_id: str, emails: list[Any]) -> None:
    """Where notices go, unless somebody set another address by hand. An address is one person's only."""
    current = {contact.kind: contact for contact in await contacts.of_user(tx.connection, user_id)}.get(_EMAIL)
    if current is not None and current.linked_by != _LINKED_BY:
        return
    usable = [email for email in emails if email.value and is_address(email.value)]
    first = min(usable, key=lambda email: (not email.primary, email.type != "work"), default=None)
    if first is None:
        if current is not None:
            await contacts.remove(tx.connection, user_id, _EMAIL)
        return
    key = first.value.lower()
    if not await contacts.is_anothers(tx.connection, _EMAIL, key, user_id):
        new = Contact(user_id, _EMAIL, key, {_EMAIL: first.value}, _LINKED_BY, feed.now)
        await contacts.put(tx.connection, new)
    elif current is not None:
        await contacts.remove(tx.connection, user_id, _EMAIL)

"""A proven person becomes, or is, a user of the directory (R31)."""

from dataclasses import replace
from datetime import datetime

from gateway.errors import Kind, Refused
from gateway.identity.model import User
from gateway.identity.oidc.claims import Person
from gateway.identity.ports import AccessEnder, Actor
from gateway.identity.signed_in import locked
from gateway.store import directory, events
from gateway.store.database import Transaction
from gateway.store.events import Event


async def admit(
    tx: Transaction,
    person: Person,
    issuer: str,
    ender: AccessEnder,
    *,
    create: bool,
    now: datetime,
    source_address: str,
) -> User:
    """The user that (issuer, subject) is, made when there is none, as the provider describes the person now.

    The id is the one of the first sign-in, whatever the claim says since. Groups, attributes and tags follow the
    provider; what rests on them is decided anew. Of whom the provider describes by SCIM, only the tags are the ID
    token's: it is older than the last change there.
    Raises Refused: USER_REMOVED, USER_LOCKED, USER_ID_TAKEN, USER_UNKNOWN.
    """
    known = await directory.by_subject(tx.connection, issuer, person.subject, now)
    if known is None:
        return await _create(tx, person, issuer, create=create, now=now, source_address=source_address)
    if known.removed_at is not None:
        raise Refused(
            Kind.PERMISSION_DENIED,
            "USER_REMOVED",
            f"{known.id} was removed from the directory",
            "Ask an organization administrator for a new user; the old id is never used again.",
        )
    if known.locked_at is not None:
        raise locked(known)
    user = replace(known, principal_tags=person.principal_tags, membership_checked_at=now)
    if not known.provisioned:
        user = replace(user, display_name=person.display_name, groups=person.groups, attributes=person.attributes)
    await directory.confirm(tx.connection, user)
    await directory.join(tx.connection, user.id, user.groups - known.groups)
    await directory.leave(tx.connection, user.id, known.groups - user.groups)
    if _seen(known) != _seen(user):
        await ender.groups_changed(tx, user.id, Actor(user.id, source_address))
        details = {"before": _seen(known), "after": _seen(user)}
        await events.append(
            tx.connection,
            Event(
                "user.updated",
                now,
                user.id,
                f"{issuer} changed {user.id}",
                user.id,
                source_address,
                details=details,
            ),
        )
    return user


async def _create(
    tx: Transaction, person: Person, issuer: str, *, create: bool, now: datetime, source_address: str
) -> User:
    if not create:
        raise Refused(
            Kind.PERMISSION_DENIED,
            "USER_UNKNOWN",
            f"{person.user_id} is not in this gateway's directory",
            "Ask an organization administrator to let you in.",
        )
    if await directory.get(tx.connection, person.user_id, now) is not None:
        # Whoever may choose a name at a provider must not become the person who has it here.
        raise Refused(
            Kind.ALREADY_EXISTS,
            "USER_ID_TAKEN",
            f"{person.user_id} is or was somebody else here",
            "Ask the gateway's operator for a user id that is free: another claim, or another name there.",
        )
    user = User(
        person.user_id,
        issuer,
        person.subject,
        person.display_name,
        person.groups,
        person.attributes,
        now,
        now,
        principal_tags=person.principal_tags,
    )
    await directory.add(tx.connection, user)
    details = {"issuer": issuer, "subject": person.subject, **_seen(user)}
    await events.append(
        tx.connection,
        Event(
            "user.created", now, user.id, f"{user.id} came from {issuer}", user.id, source_address, details=details
        ),
    )
    return user


def _seen(user: User) -> dict[str, object]:
    """What policies look at."""
    return {
        "groups": sorted(user.groups),
        "attributes": dict(user.attributes),
        "principal_tags": dict(user.principal_tags),
    }

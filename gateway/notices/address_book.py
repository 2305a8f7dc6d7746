"""Where people can be reached, as administrators set it and people see it (R30)."""

from gateway.errors import Kind, Refused, invalid
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE
from gateway.identity.ports import Clock
from gateway.store import contacts, directory, events
from gateway.store.contacts import Contact, Taken
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared
from notifiers.email.settings import is_address

EMAIL = "email"
LINKED_ONLY = frozenset({"slack", "teams"})
"""Whoever has such an identity decides from the chat: only the person can say that it is theirs."""


class AddressBook:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of(self, caller: Caller, user_id: str = "") -> list[Contact]:
        """The caller's own, or somebody's. Raises Refused NOT_PERMITTED."""
        if user_id and user_id != caller.user.id:
            caller.require(declared.PERMISSION_READ_DIRECTORY, EVERYWHERE, EVERYWHERE)
        async with self._database.read() as connection:
            return await contacts.of_user(connection, user_id or caller.user.id)

    async def put(self, caller: Caller, user_id: str, kind: str, address: str) -> Contact:
        """Raises Refused: NOT_PERMITTED, INVALID_FIELD, USER_NOT_FOUND, LINKED_ONLY, ADDRESS_TAKEN."""
        caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)
        _require_settable(kind)
        if kind == EMAIL and not is_address(address):
            raise invalid("address", "is no plain mail address", "Give one such as alice@example.org.")
        if not address.isprintable():
            raise invalid("address", "must be one line of plain text")
        now = self._clock()
        key = address.lower() if kind == EMAIL else address
        contact = Contact(user_id, kind, key, {kind: address}, caller.user.id, now)
        try:
            async with self._database.transaction() as tx:
                user = await directory.get(tx.connection, user_id, now, for_update=True)
                if user is None or user.removed_at is not None:
                    raise _no_user(user_id)
                await contacts.put(tx.connection, contact)
                await events.append(tx.connection, _event(caller, contact, "set", self._clock))
        except Taken:
            raise Refused(
                Kind.ALREADY_EXISTS,
                "ADDRESS_TAKEN",
                f"the {kind} address is another user's already",
                "One address is one person's: remove it there first.",
            ) from None
        return contact

    async def remove(self, caller: Caller, user_id: str, kind: str) -> None:
        """Chat identities, too. Raises Refused: NOT_PERMITTED, CONTACT_NOT_FOUND."""
        caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)
        async with self._database.transaction() as tx:
            known = {contact.kind: contact for contact in await contacts.of_user(tx.connection, user_id)}
            if kind not in known:
                raise Refused(
                    Kind.NOT_FOUND,
                    "CONTACT_NOT_FOUND",
                    f"{user_id} has no {kind} address",
                    f"See what there is: jit contacts list {user_id}",
                )
            await contacts.remove(tx.connection, user_id, kind)
            await events.append(tx.connection, _event(caller, known[kind], "removed", self._clock))


def _require_settable(kind: str) -> None:
    if kind in LINKED_ONLY:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "LINKED_ONLY",
            f"a {kind} identity is linked by the person, not set",
            f"Have them run: jit link {kind}",
        )


def _no_user(user_id: str) -> Refused:
    return Refused(
        Kind.NOT_FOUND, "USER_NOT_FOUND", f"there is no user {user_id!r}", "See who there is: jit users list"
    )


def _event(caller: Caller, contact: Contact, did: str, clock: Clock) -> events.Event:
    return events.Event(
        f"contact.{did}",
        clock(),
        contact.user_id,
        f"{caller.user.id} {did} the {contact.kind} address of {contact.user_id}",
        caller.user.id,
        caller.source_address,
        details={"kind": contact.kind, "address": dict(contact.address)},
    )

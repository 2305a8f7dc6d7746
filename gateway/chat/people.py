"""From a chat identity to the person of the directory (R31)."""

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import contacts, directory
from gateway.store.contacts import Contact
from gateway.store.database import Database
from notifiers.chat import ChatPerson

NOT_LINKED = "NOT_LINKED"


class ChatPeople:
    """A chat identity is looked up in the directory at each act, as a client certificate is."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def caller(self, person: ChatPerson) -> Caller:
        """Who that is, with all grants, and never freshly signed in: a chat proves nothing anew.

        Raises Refused EXTERNAL_PERSON, NOT_LINKED, USER_REMOVED, USER_LOCKED.
        """
        refuse_outsider(person)
        async with self._database.read() as connection:
            contact = await contacts.by_key(connection, person.kind, person.key)
            now = self._clock()
            known = None if contact is None else await directory.identity(connection, contact.user_id, now)
        if contact is None or known is None:
            raise not_linked(person.kind)
        user, grants = known
        if not user.may_act:
            raise Refused(
                Kind.PERMISSION_DENIED,
                "USER_LOCKED" if user.removed_at is None else "USER_REMOVED",
                f"{user.id} is locked or was removed from the directory.",
                "Ask an organization administrator.",
            )
        if user.certificates_from is not None and contact.linked_at < user.certificates_from:
            raise not_linked(person.kind)  # linked before a lock or a new password: by whom, nobody can tell
        # No access token is ever bound to a chat: it has no key.
        return Caller(user, grants, "", source_of(person), now, None)

    async def whose(self, person: ChatPerson) -> Contact | None:
        async with self._database.read() as connection:
            return await contacts.by_key(connection, person.kind, person.key)


def refuse_outsider(person: ChatPerson) -> None:
    """Raises Refused EXTERNAL_PERSON."""
    if person.is_outsider:
        raise Refused(
            Kind.PERMISSION_DENIED,
            "EXTERNAL_PERSON",
            "People of other organizations can't act here.",
            "Ask somebody of this organization.",
        )


def not_linked(kind: str) -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        NOT_LINKED,
        "The gateway doesn't know who you are here.",
        f"Run: jit link {kind}    Then type the code that it shows to the app.",
    )


def source_of(person: ChatPerson) -> str:
    """Where a decision came from, in the audit log: at most 64 characters, the user's id in any case."""
    whole = f"{person.kind} {person.key}"
    return whole if len(whole) <= 64 else f"{person.kind} {person.key.rpartition('/')[2]}"[:64]

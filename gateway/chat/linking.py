"""Binding a chat identity to a person (R31).

It begins signed in at the gateway, which shows a code; the code is typed into the chat. Never the other way round:
a code that a chat shows could be somebody else's, and whoever typed it at the gateway would give them their say.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.chat import guesses
from gateway.chat.people import refuse_outsider, source_of
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.model import User
from gateway.identity.oidc.chats import CLAIM
from gateway.identity.ports import Clock
from gateway.store import chat_codes, contacts, directory, events
from gateway.store.contacts import Contact, Taken
from gateway.store.database import Database
from gateway.store.events import Event
from notifiers.chat import ChatPerson

LIFETIME: Final = timedelta(minutes=10)
LINKED: Final = "link"
_LETTERS: Final = "abcdefghjkmnpqrstvwxyz23456789"  # none that looks like another
_LENGTH: Final = 12
"""58 bits: more than a chat lets anybody try within ten minutes."""


@dataclass(frozen=True, slots=True)
class LinkCode:
    code: str = field(repr=False)
    expires_at: datetime


class ChatLinks:
    def __init__(
        self,
        database: Database,
        clock: Clock,
        kinds: frozenset[str],
        vouched: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """`kinds`: of the chats that the operator configured. `vouched`: issuer -> those where its claims say who
        somebody is, and a code only tells where they can be reached."""
        self._database = database
        self._clock = clock
        self._kinds = kinds
        self._vouched = vouched or {}

    async def new_code(self, caller: Caller, kind: str) -> LinkCode:
        """A code for the caller to type into that chat; the one before it stops working.

        Raises Refused NO_SUCH_CHAT.
        """
        if kind not in self._kinds:
            there_is = ", ".join(sorted(self._kinds)) or "none"
            raise Refused(
                Kind.NOT_FOUND,
                "NO_SUCH_CHAT",
                f"this gateway has no chat {kind!r}; there is: {there_is}",
                "Ask the operator to configure it: [notifications.slack], [notifications.teams]",
            )
        now = self._clock()
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        code = LinkCode("-".join(letters[at : at + 4] for at in range(0, _LENGTH, 4)), now + LIFETIME)
        async with self._database.transaction() as tx:
            await chat_codes.put(
                tx.connection, _hash(code.code), caller.user.id, kind, expires_at=code.expires_at, now=now
            )
        return code

    async def redeem(self, person: ChatPerson, typed: str) -> str:
        """Links the chat identity to whoever got the code, whose id is returned; the code is used up.

        Raises Refused: EXTERNAL_PERSON, WRONG_CODE (also of who may not act any more), LINK_BACKOFF (also with the
        right code, which goes on working), NOT_VOUCHED, ADDRESS_TAKEN.
        """
        refuse_outsider(person)
        if not _could_be_a_code(typed):
            raise _wrong_code(person.kind)
        now = self._clock()
        try:
            async with self._database.transaction() as tx:
                await guesses.admit(tx, person, now)
                user = await _whose(tx.connection, typed, person.kind, now)
                if user is None:
                    await guesses.failed(tx, person, now)  # to stay, so the refusal comes after the commit
                else:
                    await self._bind(tx.connection, user, person, now)
                    await guesses.forgive(tx, person)
        except Taken:
            raise Refused(
                Kind.ALREADY_EXISTS,
                "ADDRESS_TAKEN",
                "This chat identity is linked to somebody else.",
                f"They can give it up: jit unlink {person.kind}",
            ) from None
        if user is None:
            raise _wrong_code(person.kind)
        return user.id

    async def _bind(self, connection: AsyncConnection, user: User, person: ChatPerson, now: datetime) -> None:
        """Raises Refused NOT_VOUCHED, and Taken."""
        by = LINKED
        if person.kind in self._vouched.get(user.issuer, ()):
            by = CLAIM
            await self._refuse_another(connection, user.id, person)
        await contacts.put(connection, Contact(user.id, person.kind, person.key, person.address, by, now))
        linked = f"{user.id} linked the {person.kind} identity {person.key}"
        await events.append(connection, _event("chat.linked", now, person, user.id, linked))

    @staticmethod
    async def _refuse_another(connection: AsyncConnection, user_id: str, person: ChatPerson) -> None:
        """Raises Refused NOT_VOUCHED for an identity that the person's provider does not name."""
        known = {contact.kind: contact.key for contact in await contacts.of_user(connection, user_id)}
        if known.get(person.kind) != person.key:
            raise Refused(
                Kind.PERMISSION_DENIED,
                "NOT_VOUCHED",
                f"The identity provider says who {user_id} is in {person.kind}, and it is not this.",
                "Sign in again, jit login, if it has changed there.",
            )

    async def unlink(self, caller: Caller, kind: str) -> None:
        """Raises Refused NOT_LINKED."""
        async with self._database.transaction() as tx:
            known = {contact.kind: contact for contact in await contacts.of_user(tx.connection, caller.user.id)}
            if kind not in known:
                raise Refused(
                    Kind.NOT_FOUND, "NOT_LINKED", f"you have no linked {kind} identity", "See: jit contacts list"
                )
            await contacts.remove(tx.connection, caller.user.id, kind)
            gone = Event(
                "chat.unlinked",
                self._clock(),
                caller.user.id,
                f"{caller.user.id} unlinked the {kind} identity {known[kind].key}",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                details={"kind": kind, "key": known[kind].key},
            )
            await events.append(tx.connection, gone)


def _event(what: str, at: datetime, person: ChatPerson, user_id: str, summary: str) -> Event:
    details = {"kind": person.kind, "key": person.key}
    return Event(what, at, user_id, summary, actor_id=user_id, source_address=source_of(person), details=details)


async def _whose(connection: AsyncConnection, typed: str, kind: str, now: datetime) -> User | None:
    """Uses the code up. None: it is none, or of somebody who may not act any more."""
    user_id = await chat_codes.take(connection, _hash(typed), kind, now)
    user = None if user_id is None else await directory.get(connection, user_id, now, for_update=True)
    return user if user is not None and user.may_act else None


def _wrong_code(kind: str) -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        "WRONG_CODE",
        "That is no code of this gateway, or it has expired.",
        f"Get a new one: jit link {kind}",
    )


def _could_be_a_code(typed: str) -> bool:
    """Whether that is one, perhaps mistyped. Who says thank you to an app has guessed nothing, and makes nobody
    wait."""
    letters = _letters(typed)
    return len(letters) == _LENGTH and letters.isalnum()


def _hash(code: str) -> str:
    """What is stored of a code."""
    return hashlib.sha256(_letters(code).encode("utf-8", "surrogatepass")).hexdigest()


def _letters(code: str) -> str:
    """Case, blanks and dashes do not count, for people type it."""
    return "".join(code.casefold().replace("-", " ").split())

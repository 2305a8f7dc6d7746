"""The last step of every way to sign in: what somebody gets who has been proven (R31)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.client_certificates import ClientCertificate, ClientCertificates
from gateway.identity.model import RoleGrant, User
from gateway.identity.ports import Clock
from gateway.store import directory, events, sign_ins
from gateway.store.changes import Changes
from gateway.store.database import Transaction
from gateway.store.events import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proven:
    """Somebody who has proven who they are, and is not let in yet.

    `at`: when they proved it; None: the provider does not say, and it may have been hours ago. `provider`: where;
    empty: here. `details` are for the audit log.
    """

    user: User
    source_address: str
    at: datetime | None
    provider: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


Admit = Callable[[Transaction, Proven], Awaitable[T]]
"""Lets a proven person in, in the transaction of the proof: what was used up for it counts only together with it.
Raises Refused USER_LOCKED."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who has been proven, and the certificate for the key. `sign_out_url`: where a browser ends the
    person's session at the identity provider."""

    user: User
    grants: tuple[RoleGrant, ...]
    certificate: ClientCertificate
    sign_out_url: str = ""


class Reception:
    """Lets a proven person in, unless locked, and tells the audit log."""

    def __init__(self, changes: Changes, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock

    async def receive(
        self, tx: Transaction, proven: Proven, until: datetime
    ) -> tuple[User, tuple[RoleGrant, ...]]:
        """The person, known afresh. `until`: when what they get ends. Raises Refused USER_LOCKED."""
        user = proven.user
        if user.locked_at is not None:
            raise locked(user)
        now = self._clock()
        source = backoff.source_of(proven.source_address)
        await sign_ins.signed_in_from(tx.connection, user.id, source, now, now - backoff.ACCUSTOMED_FOR)
        await directory.signed_in(tx.connection, user.id, now)
        known = await directory.identity(tx.connection, user.id, now)
        if known is None:
            raise LookupError("a user that was just read is gone")
        event = Event(
            "sign_in.succeeded",
            now,
            user.id,
            f"{user.id} signed in",
            actor_id=user.id,
            source_address=proven.source_address,
            details={**proven.details, "until": until.isoformat()},
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("users"))
        return known


class Certifier:
    """Gives a proven person a certificate for the key that their client made."""

    def __init__(self, certificates: ClientCertificates, changes: Changes, clock: Clock) -> None:
        self._certificates = certificates
        self._reception = Reception(changes, clock)

    def for_key(self, certificate_request: bytes) -> Admit[SignedIn]:
        """Raises Refused INVALID_FIELD, before anybody has to prove anything."""
        key = self._certificates.key_of(certificate_request)

        async def certify(tx: Transaction, proven: Proven) -> SignedIn:
            certificate = self._certificates.issue(key, proven.user.id)
            known = await self._reception.receive(tx, proven, certificate.expires_at)
            return SignedIn(*known, certificate)

        return certify


def locked(user: User) -> Refused:
    """What a locked person reads, once proven."""
    return Refused(
        Kind.PERMISSION_DENIED,
        "USER_LOCKED",
        f"{user.id} is locked: {user.lock_reason}",
        "Ask an organization administrator to unlock you: jit unlock",
    )

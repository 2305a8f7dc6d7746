"""The last step of every way to sign in: a certificate for the key of somebody who has been proven (R31)."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.client_certificates import ClientCertificate, ClientCertificates
from gateway.identity.model import RoleGrant, User
from gateway.identity.ports import Clock
from gateway.store import directory, events, sign_ins
from gateway.store.changes import Changes
from gateway.store.database import Transaction
from gateway.store.events import Event


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who has been proven, and the certificate for the key. `sign_out_url`: where a browser ends the
    person's session at the identity provider."""

    user: User
    grants: tuple[RoleGrant, ...]
    certificate: ClientCertificate
    sign_out_url: str = ""


class Certifier:
    """Lets a proven person in, unless locked, and tells the audit log."""

    def __init__(self, certificates: ClientCertificates, changes: Changes, clock: Clock) -> None:
        self._certificates = certificates
        self._changes = changes
        self._clock = clock

    def key_of(self, certificate_request: bytes) -> EllipticCurvePublicKey:
        """Raises Refused INVALID_FIELD."""
        return self._certificates.key_of(certificate_request)

    async def certify(
        self,
        tx: Transaction,
        user: User,
        key: EllipticCurvePublicKey,
        source_address: str,
        details: dict[str, object],
    ) -> SignedIn:
        """In the transaction of the proof, so that what was used up for it counts only together with it.

        Raises Refused USER_LOCKED.
        """
        if user.locked_at is not None:
            raise locked(user)
        now = self._clock()
        source = backoff.source_of(source_address)
        await sign_ins.signed_in_from(tx.connection, user.id, source, now, now - backoff.ACCUSTOMED_FOR)
        await directory.signed_in(tx.connection, user.id, now)
        known = await directory.identity(tx.connection, user.id, now)
        if known is None:
            raise LookupError("a user that was just read is gone")
        certificate = self._certificates.issue(key, user.id)
        event = Event(
            "sign_in.succeeded",
            now,
            user.id,
            f"{user.id} signed in",
            actor_id=user.id,
            source_address=source_address,
            details={**details, "until": certificate.expires_at.isoformat()},
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("users"))
        return SignedIn(*known, certificate)


def locked(user: User) -> Refused:
    """What a locked person reads, once proven."""
    return Refused(
        Kind.PERMISSION_DENIED,
        "USER_LOCKED",
        f"{user.id} is locked: {user.lock_reason}",
        "Ask an organization administrator to unlock you: jit unlock",
    )

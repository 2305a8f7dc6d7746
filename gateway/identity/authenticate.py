"""Who makes a call (R31)."""

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.model import LOCAL_ISSUER
from gateway.identity.ports import Clock
from gateway.identity.signed_in import locked
from gateway.store import directory
from gateway.store.database import Database


class Authenticator:
    """Turns the certificate of a TLS peer into a caller, on what the directory says at this moment."""

    def __init__(self, database: Database, certificates: ClientCertificates, clock: Clock) -> None:
        self._database = database
        self._certificates = certificates
        self._clock = clock

    async def authenticate(self, peer_pem: bytes, source_address: str) -> Caller:
        """The caller with all grants. Runs at every call: one query.

        Raises Refused: UNAUTHENTICATED SIGN_IN_REQUIRED (none, not ours, expired, void, of nobody known),
        PERMISSION_DENIED USER_REMOVED or USER_LOCKED.
        """
        peer = self._certificates.identify(peer_pem)
        async with self._database.read() as connection:
            known = await directory.identity(connection, peer.name, self._clock())
        if known is None:
            raise Refused(
                Kind.UNAUTHENTICATED,
                "SIGN_IN_REQUIRED",
                "the client certificate names a user that this gateway does not know",
                "Sign in: jit login",
            )
        user, grants = known
        if user.removed_at is not None:
            raise Refused(
                Kind.PERMISSION_DENIED,
                "USER_REMOVED",
                f"{user.id} was removed from the directory",
                "Ask an organization administrator for a new user; the old id is never used again.",
            )
        if user.locked_at is not None:
            raise locked(user)
        if user.certificates_from is not None and peer.issued_at < user.certificates_from.replace(microsecond=0):
            raise Refused(
                Kind.UNAUTHENTICATED,
                "SIGN_IN_REQUIRED",
                "the client certificate is from before the user was locked or the password reset",
                "Sign in again: jit login",
            )
        # An identity provider may have let them in by a session that it remembers: that proves nothing fresh.
        signed_in_at = peer.issued_at if user.issuer == LOCAL_ISSUER else None
        return Caller(user, grants, peer.key_hash, source_address, peer.expires_at, signed_in_at)

"""The gateway's own TLS certificate, which renews itself."""

import ipaddress
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity.authority import SKEW, CertificateAuthority, common_name, private_key_pem
from gateway.identity.ports import Clock

_LIFETIME = timedelta(days=30)
_RENEW_BEFORE_EXPIRY = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a TLS server shows: its certificate followed by the authority's, and the key. PEM."""

    certificate_chain: bytes
    valid_from: datetime
    expires_at: datetime
    private_key: bytes = field(repr=False)


class ServerCertificate:
    """Certifies the gateway for `names` (host names and addresses).

    The key is made anew with each certificate and stays in memory: clients trust the authority, and a key that is
    on no disk needs no backup and leaves no copy behind.
    """

    def __init__(self, authority: CertificateAuthority, names: Sequence[str], clock: Clock) -> None:
        """Raises ValueError for an empty list of names or a name that no certificate can hold."""
        if not names:
            raise ValueError("a server certificate needs at least one name")
        self._authority = authority
        self._name = names[0]
        self._names = x509.SubjectAlternativeName([_general_name(name) for name in names])
        self._clock = clock
        self._issuing = threading.Lock()
        self._current = self._issue()

    def current(self) -> ServerIdentity:
        """The identity to show now; asked at every handshake, from any thread."""
        with self._issuing:
            now, shown = self._clock(), self._current
            # One from the future was issued by a clock that ran ahead and has been set right since.
            if now >= shown.expires_at - _RENEW_BEFORE_EXPIRY or now < shown.valid_from:
                self._current = self._issue()
            return self._current

    def _issue(self) -> ServerIdentity:
        now = self._clock()
        valid_from = now - SKEW
        expires_at = min(now + _LIFETIME, self._authority.certificate.not_valid_after_utc)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._authority.sign(
            x509.CertificateBuilder()
            .subject_name(common_name(self._name[:64]))
            .public_key(key.public_key())
            .not_valid_before(valid_from)
            .not_valid_after(expires_at)
            .add_extension(self._names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        chain = certificate.public_bytes(Encoding.PEM) + self._authority.certificate_pem()
        return ServerIdentity(chain, valid_from, expires_at, private_key_pem(key))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode("ascii"))

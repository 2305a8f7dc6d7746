"""Client certificates: what `jit login` and registered nodes get, and who is behind one (R24, R31, R33)."""

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.errors import Kind, Refused, invalid
from gateway.identity.authority import SKEW, CertificateAuthority, common_name
from gateway.identity.ports import Clock

MAXIMUM_LIFETIME = timedelta(hours=12)
_MAXIMUM_REQUEST_BYTES = 4096
_MAXIMUM_CERTIFICATE_BYTES = 8192
_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Bearers:
    """A kind of clients: how certificates name them and how long they hold, and what is said when one does not."""

    noun: str
    identity: re.Pattern[str]  # of the URI; its group is the name
    prefix: str
    maximum_lifetime: timedelta
    reason: str
    what_to_do: str


PEOPLE = Bearers(
    "user",
    re.compile(r"jitgate://user/([a-z0-9][a-z0-9._@-]{0,63})"),
    "jitgate://user/",
    MAXIMUM_LIFETIME,
    "SIGN_IN_REQUIRED",
    "Sign in: jit login",
)
NODES = Bearers(
    "node",
    re.compile(r"jitgate://node/(mi-[0-9a-f]{17})"),
    "jitgate://node/",
    timedelta(days=7),
    "REGISTRATION_REQUIRED",
    "Register the node anew: jitgate-agent register --help",
)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What was issued: PEM, the client's certificate first, then the authority's."""

    chain: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a client certificate names. `key_hash`: SHA-256 of the SubjectPublicKeyInfo (DER), hex."""

    name: str
    key_hash: str
    valid_from: datetime
    expires_at: datetime

    @property
    def issued_at(self) -> datetime:
        """In whole seconds, as certificates count."""
        return self.valid_from + SKEW


class ClientCertificates:
    """Issues and reads the client certificates of one kind of bearers, who have an authority of their own."""

    def __init__(self, authority: CertificateAuthority, clock: Clock, bearers: Bearers = PEOPLE) -> None:
        self._authority = authority
        self._bearers = bearers
        self._clock = clock
        self._known: OrderedDict[bytes, Peer] = OrderedDict()

    def key_of(self, certificate_request: bytes) -> ec.EllipticCurvePublicKey:
        """The key that a PKCS#10 request (DER) asks to certify. Nothing else in the request counts.

        Raises Refused INVALID_FIELD unless it is signed by that key, an ECDSA P-256 one: gRPC's TLS shakes no hand
        that is certified by a key of another kind, Ed25519 included.
        """
        try:
            key = _requested_key(certificate_request)
        except Exception as error:  # it parses foreign bytes: whatever it raises, they are no request
            raise invalid(
                "certificate_request",
                "is no PKCS#10 request (DER) signed by its own ECDSA P-256 key",
                "Make a new key and try again.",
            ) from error
        return key

    def issue(
        self, key: ec.EllipticCurvePublicKey, name: str, lifetime: timedelta | None = None
    ) -> ClientCertificate:
        """Certifies `key` as the bearer's of that name, for the longest time unless told.

        Raises ValueError beyond that time or for a name that is none.
        """
        identity = self._bearers.prefix + name
        longest = self._bearers.maximum_lifetime
        lifetime = longest if lifetime is None else lifetime
        if not timedelta() < lifetime <= longest or not self._bearers.identity.fullmatch(identity):
            raise ValueError("no client certificate can be issued for that")
        now = self._clock().replace(microsecond=0)  # certificates know whole seconds
        expires_at = min(now + lifetime, self._authority.certificate.not_valid_after_utc)
        certificate = self._authority.sign(
            x509.CertificateBuilder()
            .subject_name(common_name(name))  # for people who look at it; the identity is the URI
            .public_key(key)
            .not_valid_before(now - SKEW)
            .not_valid_after(expires_at)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        )
        chain = certificate.public_bytes(Encoding.PEM) + self._authority.certificate_pem()
        return ClientCertificate(chain.decode("ascii"), now, expires_at)

    def renew(self, certificate_pem: bytes) -> ClientCertificate:
        """A fresh certificate for the same key and name. Raises what `bearer` does."""
        peer = self.bearer(certificate_pem)
        key = x509.load_pem_x509_certificate(certificate_pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)  # no other was ever certified
        return self.issue(key, peer.name)

    def identify(self, certificate_pem: bytes) -> Peer:
        """Whom the certificate of a TLS peer names, if it holds now.

        Raises Refused UNAUTHENTICATED with the bearers' reason.
        """
        peer = self.bearer(certificate_pem)
        now = self._clock()
        if now >= peer.expires_at:
            raise self._refused(f"the client certificate expired at {peer.expires_at:%Y-%m-%d %H:%M:%S} UTC")
        if now < peer.valid_from:
            raise self._refused("the client certificate does not hold yet")
        return peer

    def bearer(self, certificate_pem: bytes) -> Peer:
        """Whom the certificate of a TLS peer names, even if it has expired since the connection was made.

        The TLS server has verified the chain and that the peer has the key. The signature is checked here once
        more, so that a server set up to trust another authority as well lets nobody of that one in.
        Raises Refused UNAUTHENTICATED with the bearers' reason.
        """
        peer = self._known.get(certificate_pem)
        if peer is None:
            peer = self._read(certificate_pem)
            self._known[certificate_pem] = peer
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(certificate_pem)
        return peer

    def _read(self, certificate_pem: bytes) -> Peer:
        if not certificate_pem:
            raise self._refused("no client certificate was shown")
        if len(certificate_pem) > _MAXIMUM_CERTIFICATE_BYTES:
            raise self._refused("the client certificate is too large")
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            certificate.verify_directly_issued_by(self._authority.certificate)
            extensions = certificate.extensions
            names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
            usage = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
            raise self._refused("the client certificate is not one of this gateway's") from error
        uri = names[0] if len(names) == 1 else None
        match = (
            self._bearers.identity.fullmatch(uri.value)
            if isinstance(uri, x509.UniformResourceIdentifier)
            else None
        )
        if match is None or usage != [ExtendedKeyUsageOID.CLIENT_AUTH]:
            raise self._refused(f"the client certificate names no {self._bearers.noun}")
        return Peer(
            name=match[1],
            key_hash=hashlib.sha256(key).hexdigest(),
            valid_from=certificate.not_valid_before_utc,
            expires_at=certificate.not_valid_after_utc,
        )

    def _refused(self, why: str) -> Refused:
        return Refused(Kind.UNAUTHENTICATED, self._bearers.reason, why, self._bearers.what_to_do)


def _requested_key(certificate_request: bytes) -> ec.EllipticCurvePublicKey:
    if not 0 < len(certificate_request) <= _MAXIMUM_REQUEST_BYTES:
        raise ValueError("too short or too long")
    request = x509.load_der_x509_csr(certificate_request)
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("a key of another kind")
    if not request.is_signature_valid:
        raise ValueError("not signed by its own key")
    return key

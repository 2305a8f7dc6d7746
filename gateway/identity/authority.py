"""Certificate authorities whose keys live on this machine: one for the gateway's own TLS, one for its clients."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.identity.key_files import KeyFileUnusable, load_or_create
from gateway.identity.ports import Clock

_LIFETIME = timedelta(days=3650)
# Clocks run apart: what is issued now holds from a minute ago.
SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A key (ECDSA P-256) and its self-signed certificate."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load_or_create(cls, file: Path, name: str, clock: Clock) -> Self:
        """The authority kept in `file`, made under the common name `name` when there is none.

        Raises KeyFileUnusable for a file that others can read, that holds something else, or that has expired.
        """
        content = load_or_create(file, lambda: _create(name, clock))
        try:
            key = load_pem_private_key(content, password=None)
            certificate = x509.load_pem_x509_certificate(content)
        except (ValueError, TypeError) as error:
            raise KeyFileUnusable(
                f"{file} holds no key and certificate in PEM. Restore it from its backup"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise KeyFileUnusable(
                f"{file}: key and certificate do not belong together. Restore it from its backup"
            )
        if certificate.not_valid_after_utc <= clock():
            raise KeyFileUnusable(
                f"{file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}. Move it away; the gateway then "
                "makes a new authority, whose certificate its clients need"
            )
        return cls(certificate, key)

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Issues what `builder` describes, for use at the end of a chain only."""
        issuer_key = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        return (
            builder.issuer_name(self.certificate.subject)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False
            )
            .sign(self.key, SHA256())
        )


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _create(name: str, clock: Clock) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = clock()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return private_key_pem(key) + certificate.public_bytes(Encoding.PEM)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )

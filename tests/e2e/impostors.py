"""Who is wrong: identities that the gateway must not take for anybody, or for somebody who may nothing more."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity.authority import CertificateAuthority, common_name, private_key_pem
from gateway.identity.client_certificates import ClientCertificates
from tests.e2e.calling import Identity
from tests.e2e.stage import Stage

ALICE = x509.UniformResourceIdentifier("jitgate://user/alice")


def _now() -> datetime:
    return datetime.now(UTC)


def _real_ca(on: Stage) -> CertificateAuthority:
    file = on.gateway.data_dir / "keys" / "client-ca.key"
    before = file.read_bytes()
    authority = CertificateAuthority.load_or_create(file, "unused", _now)
    assert file.read_bytes() == before
    return authority


def _issued(authority: CertificateAuthority, user_id: str, at: timedelta = timedelta()) -> Identity:
    """What that authority's gateway would have issued so long from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = ClientCertificates(authority, lambda: _now() + at).issue(key.public_key(), user_id)
    return private_key_pem(key), issued.chain.encode()


def _signed(authority: CertificateAuthority, *names: x509.GeneralName, usage: x509.ObjectIdentifier) -> Identity:
    """A certificate of the authority with other contents than it gives clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("alice"))
        .public_key(key.public_key())
        .not_valid_before(_now() - timedelta(minutes=1))
        .not_valid_after(_now() + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    chain = authority.sign(builder).public_bytes(Encoding.PEM) + authority.certificate_pem()
    return private_key_pem(key), chain


def nobody(on: Stage, folder: Path) -> Identity:
    return None


def of_another_ca(on: Stage, folder: Path) -> Identity:
    """The other authority even has the right name."""
    return _issued(
        CertificateAuthority.load_or_create(folder / "other" / "ca", "Jitgate client CA", _now), "alice"
    )


def self_made(on: Stage, folder: Path) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common_name("alice"))
        .issuer_name(_real_ca(on).certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_now() - timedelta(minutes=1))
        .not_valid_after(_now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([ALICE]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(key, SHA256())
    )
    return private_key_pem(key), certificate.public_bytes(Encoding.PEM)


def expired(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "alice", timedelta(hours=-13))


def not_valid_yet(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "alice", timedelta(hours=1))


def for_servers(on: Stage, folder: Path) -> Identity:
    return _signed(_real_ca(on), ALICE, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def of_the_tls_ca(on: Stage, folder: Path) -> Identity:
    """A certificate like the gateway's own, which proves servers to clients."""
    authority = CertificateAuthority.load_or_create(on.gateway.data_dir / "keys" / "tls-ca.key", "unused", _now)
    return _signed(authority, ALICE, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def unknown(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "nobody.knows")


def named_by_subject_only(on: Stage, folder: Path) -> Identity:
    return _signed(_real_ca(on), usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def of_two_names(on: Stage, folder: Path) -> Identity:
    administrator = x509.UniformResourceIdentifier("jitgate://user/root-admin")
    return _signed(_real_ca(on), ALICE, administrator, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def removed(on: Stage, folder: Path) -> Identity:
    """Had every role, and a certificate that still holds."""
    somebody = on.add_user("removed", {"role": "ROLE_ORGANIZATION_ADMINISTRATOR"}, {"role": "ROLE_USER"})
    on.administrator.call("AdministrationService/RemoveUser", id=somebody.id)
    return somebody.identity


def locked(on: Stage, folder: Path) -> Identity:
    somebody = on.add_user("locked", {"role": "ROLE_ORGANIZATION_ADMINISTRATOR"}, {"role": "ROLE_USER"})
    on.administrator.call("AdministrationService/Lock", user_id=somebody.id, reason="a test")
    return somebody.identity

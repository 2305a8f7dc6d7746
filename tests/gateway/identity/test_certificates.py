import hashlib
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Kind, Refused
from gateway.identity.authority import CertificateAuthority
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.key_files import KeyFileUnusable
from gateway.identity.server_certificate import ServerCertificate
from tests.gateway.identity.conftest import Time, first_certificate


@pytest.fixture
def authority(tmp_path: Path, time: Time) -> CertificateAuthority:
    return CertificateAuthority.load_or_create(tmp_path / "keys" / "ca.pem", "a CA", time)


@pytest.fixture
def certificates(authority: CertificateAuthority, time: Time) -> ClientCertificates:
    return ClientCertificates(authority, time)


def request(key: CertificateIssuerPrivateKeyTypes, tamper: bool = False) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    encoded = bytearray(built.public_bytes(Encoding.DER))
    if tamper:
        encoded[-1] ^= 1
    return bytes(encoded)


class TestAuthority:
    def test_it_is_the_same_after_a_restart(self, tmp_path: Path, time: Time) -> None:
        file = tmp_path / "keys" / "ca.pem"
        first = CertificateAuthority.load_or_create(file, "a CA", time)
        assert CertificateAuthority.load_or_create(file, "a CA", time).certificate == first.certificate

    def test_one_of_a_clock_that_ran_ahead_is_replaced(self, authority: CertificateAuthority, time: Time) -> None:
        server = ServerCertificate(authority, ["localhost"], time)
        time.forward(days=100)
        ahead = server.current()
        time.forward(days=-100)
        right = server.current()
        assert right.valid_from <= time() < ahead.valid_from
        assert server.current() is right

    def test_its_repr_holds_no_key(self, authority: CertificateAuthority) -> None:
        assert "rivate" not in repr(authority)

    @pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\n"])
    def test_a_file_that_holds_something_else_is_refused(self, tmp_path: Path, time: Time, content: bytes) -> None:
        file = tmp_path / "keys" / "ca.pem"
        file.parent.mkdir(mode=0o700)
        file.touch(mode=0o600)
        file.write_bytes(content)
        with pytest.raises(KeyFileUnusable, match="backup"):
            CertificateAuthority.load_or_create(file, "a CA", time)

    def test_a_key_and_a_certificate_of_two_authorities_are_refused(self, tmp_path: Path, time: Time) -> None:
        one, two = tmp_path / "keys" / "one.pem", tmp_path / "keys" / "two.pem"
        CertificateAuthority.load_or_create(one, "a CA", time)
        other = CertificateAuthority.load_or_create(two, "a CA", time)
        key = one.read_bytes().partition(b"-----BEGIN CERTIFICATE")[0]
        one.write_bytes(key + other.certificate_pem())
        with pytest.raises(KeyFileUnusable, match="do not belong together"):
            CertificateAuthority.load_or_create(one, "a CA", time)

    def test_an_expired_one_is_refused(self, tmp_path: Path, time: Time) -> None:
        file = tmp_path / "keys" / "ca.pem"
        CertificateAuthority.load_or_create(file, "a CA", time)
        time.forward(days=3651)
        with pytest.raises(KeyFileUnusable, match="expired"):
            CertificateAuthority.load_or_create(file, "a CA", time)


class TestServerCertificate:
    def test_a_client_that_trusts_the_authority_connects_by_every_name(self, tmp_path: Path) -> None:
        now = Time.real()
        authority = CertificateAuthority.load_or_create(tmp_path / "keys" / "tls.pem", "a TLS CA", now)
        identity = ServerCertificate(authority, ["gateway.example", "127.0.0.1", "::1"], now).current()
        for name in ("gateway.example", "127.0.0.1", "::1"):
            _handshake(tmp_path, identity.certificate_chain, identity.private_key, authority, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            _handshake(tmp_path, identity.certificate_chain, identity.private_key, authority, "other.example")

    def test_it_renews_itself_before_it_expires(self, authority: CertificateAuthority, time: Time) -> None:
        server = ServerCertificate(authority, ["localhost"], time)
        first = server.current()
        time.forward(days=19)
        assert server.current() == first
        time.forward(days=1)
        second = server.current()
        assert second != first
        assert second.expires_at == time() + timedelta(days=30)
        assert server.current() is second

    def test_one_of_a_clock_that_ran_ahead_is_replaced(self, authority: CertificateAuthority, time: Time) -> None:
        server = ServerCertificate(authority, ["localhost"], time)
        time.forward(days=100)
        ahead = server.current()
        time.forward(days=-100)
        right = server.current()
        assert right.valid_from <= time() < ahead.valid_from
        assert server.current() is right

    def test_its_repr_holds_no_key(self, authority: CertificateAuthority, time: Time) -> None:
        assert "PRIVATE" not in repr(ServerCertificate(authority, ["localhost"], time).current())

    @pytest.mark.parametrize("names", [[], [""], ["a" * 300]])
    def test_names_that_no_certificate_can_hold_are_refused(
        self, authority: CertificateAuthority, time: Time, names: list[str]
    ) -> None:
        with pytest.raises(ValueError, match=r".+"):
            ServerCertificate(authority, names, time)


def _handshake(folder: Path, chain: bytes, key: bytes, authority: CertificateAuthority, name: str) -> None:
    """A TLS handshake in memory. Raises ssl.SSLError when the client does not trust the server."""
    file = folder / "server.pem"
    file.write_bytes(key + chain)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    client_side = ssl.create_default_context(cadata=authority.certificate_pem().decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() is not None


class TestRequests:
    def test_an_ecdsa_p256_key_is_accepted(self, certificates: ClientCertificates) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        assert certificates.key_of(request(key)) == key.public_key()

    @pytest.mark.parametrize(
        "encoded",
        [
            b"",
            b"garbage",
            b"\x30" * 4097,
            request(ec.generate_private_key(ec.SECP384R1())),
            request(ec.generate_private_key(ec.SECP256K1())),
            request(rsa.generate_private_key(65537, 2048)),
            request(ec.generate_private_key(ec.SECP256R1()), tamper=True),
            request(ed25519.Ed25519PrivateKey.generate()),
        ],
        ids=["empty", "garbage", "huge", "p384", "secp256k1", "rsa", "tampered-p256", "ed25519"],
    )
    def test_everything_else_is_refused_by_name(self, certificates: ClientCertificates, encoded: bytes) -> None:
        with pytest.raises(Refused) as caught:
            certificates.key_of(encoded)
        assert caught.value.kind is Kind.INVALID_ARGUMENT
        assert caught.value.fields[0].field == "certificate_request"

    @settings(max_examples=100, deadline=None)
    @given(position=st.integers(0, 10_000), value=st.integers(0, 255))
    def test_a_request_changed_anywhere_certifies_no_other_key(self, position: int, value: int) -> None:
        encoded = bytearray(_REQUEST)
        encoded[position % len(encoded)] = value
        try:
            key = _CERTIFICATES.key_of(bytes(encoded))
        except Refused:
            return
        assert key == _KEY.public_key()


class TestClientCertificates:
    def test_it_names_the_user_for_twelve_hours(self, certificates: ClientCertificates, time: Time) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        issued = certificates.issue(key, "alice@example.com")
        assert issued.expires_at == time() + timedelta(hours=12)
        peer = certificates.identify(first_certificate(issued.chain))
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert (peer.name, peer.key_hash) == ("alice@example.com", hashlib.sha256(spki).hexdigest())
        assert peer.expires_at == issued.expires_at

    def test_it_is_for_clients_and_signs_nothing(self, certificates: ClientCertificates) -> None:
        chain = certificates.issue(ec.generate_private_key(ec.SECP256R1()).public_key(), "alice").chain
        extensions = x509.load_pem_x509_certificate(first_certificate(chain)).extensions
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign

    def test_it_ends_to_the_second_even_when_it_is_known_already(
        self, certificates: ClientCertificates, time: Time
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = first_certificate(certificates.issue(key, "alice", timedelta(hours=1)).chain)
        time.forward(seconds=3599)
        certificates.identify(pem)
        time.forward(seconds=1)
        assert _refusal(certificates, pem) == ("SIGN_IN_REQUIRED", "the client certificate expired")

    def test_it_does_not_hold_before_its_time(self, certificates: ClientCertificates, time: Time) -> None:
        pem = first_certificate(
            certificates.issue(ec.generate_private_key(ec.SECP256R1()).public_key(), "alice").chain
        )
        time.forward(hours=-1)
        assert _refusal(certificates, pem) == ("SIGN_IN_REQUIRED", "the client certificate does")

    @pytest.mark.parametrize(
        ("user_id", "hours"), [("alice", 12.001), ("alice", 0), ("alice", -1), ("Alice", 1), ("", 1), ("a/b", 1)]
    )
    def test_nothing_longer_and_no_other_identity_is_issued(
        self, certificates: ClientCertificates, user_id: str, hours: float
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        with pytest.raises(ValueError, match="no client certificate"):
            certificates.issue(key, user_id, timedelta(hours=hours))

    def test_one_of_another_authority_is_refused_even_with_the_same_name(
        self, certificates: ClientCertificates, tmp_path: Path, time: Time
    ) -> None:
        other = CertificateAuthority.load_or_create(tmp_path / "keys" / "other.pem", "a CA", time)
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = first_certificate(ClientCertificates(other, time).issue(key, "alice").chain)
        assert _refusal(certificates, pem) == ("SIGN_IN_REQUIRED", "the client certificate is")

    @pytest.mark.parametrize("pem", [b"", b"garbage", b"x" * 10_000])
    def test_what_is_no_certificate_is_refused(self, certificates: ClientCertificates, pem: bytes) -> None:
        assert _refusal(certificates, pem)[0] == "SIGN_IN_REQUIRED"

    @pytest.mark.parametrize(
        ("names", "usage"),
        [
            (["jitgate://user/alice"], [ExtendedKeyUsageOID.SERVER_AUTH]),
            (["jitgate://user/alice"], [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            (["jitgate://user/alice"], None),
            (["jitgate://user/alice", "jitgate://user/bob"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (["jitgate://node/i-1"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (["https://example.com/alice"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (["jitgate://user/alice/../bob"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (["jitgate://user/"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (None, [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ],
    )
    def test_one_of_our_authority_for_another_purpose_is_refused(
        self,
        certificates: ClientCertificates,
        authority: CertificateAuthority,
        time: Time,
        names: list[str] | None,
        usage: list[x509.ObjectIdentifier] | None,
    ) -> None:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
            .not_valid_before(time())
            .not_valid_after(time() + timedelta(hours=1))
        )
        if names is not None:
            uris = [x509.UniformResourceIdentifier(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        pem = authority.sign(builder).public_bytes(Encoding.PEM)
        assert _refusal(certificates, pem)[0] == "SIGN_IN_REQUIRED"


def _refusal(certificates: ClientCertificates, pem: bytes) -> tuple[str, str]:
    """The reason, and how the message begins."""
    with pytest.raises(Refused) as caught:
        certificates.identify(pem)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.reason, " ".join(caught.value.message.split()[:4])


_KEY = ec.generate_private_key(ec.SECP256R1())
_REQUEST = request(_KEY)
_CERTIFICATES = ClientCertificates(None, Time())  # type: ignore[arg-type]  # reading requests needs no authority

"""Every key that the gateway holds, in one folder: made at the first start, inventoried in docs/operator.md."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.api.server import TlsMaterial
from gateway.config import BadConfiguration, Tls
from gateway.http.settings import Http
from gateway.identity.authority import CertificateAuthority
from gateway.identity.client_certificates import NODES, ClientCertificates
from gateway.identity.key_files import KeyFileUnusable
from gateway.identity.ports import Clock
from gateway.identity.server_certificate import ServerCertificate
from gateway.identity.ssh_ca import SshUserCa
from recorder.key_providers.local_file import LocalKeyFile
from recorder.signatures import public_key_of
from recorder.signing import LocalSigner


@dataclass(frozen=True, slots=True)
class Keys:
    """What the parts of the gateway sign, certify and encrypt with."""

    tls: ServerCertificate | None  # None: the operator brought a certificate
    tls_files: Tls
    client_ca: CertificateAuthority
    clients: ClientCertificates
    agent_ca: CertificateAuthority
    agents: ClientCertificates
    ssh_user_ca: SshUserCa
    recordings: LocalKeyFile
    manifests: LocalSigner
    # Raw public keys that manifests are believed by: today's, and those it followed.
    manifest_public_keys: tuple[bytes, ...]

    def tls_material(self) -> TlsMaterial:
        """What a listener for people shows now. Raises OSError when the operator's files are gone."""
        return self._tls_material(self.client_ca.certificate_pem())

    def agent_tls_material(self) -> TlsMaterial:
        """The same for the listener that trusts nodes' agents, and nobody else."""
        return self._tls_material(self.agent_ca.certificate_pem())

    def http_tls_material(self, http: Http) -> TlsMaterial:
        """The same for the web listener, which asks nobody for a certificate: its own, or the one for people."""
        if http.certificate is not None and http.key is not None:
            return TlsMaterial(http.certificate.read_bytes(), http.key.read_bytes(), b"")
        return self._tls_material(b"")

    def _tls_material(self, client_ca: bytes) -> TlsMaterial:
        if self.tls is not None:
            shown = self.tls.current()
            return TlsMaterial(shown.certificate_chain, shown.private_key, client_ca)
        assert self.tls_files.certificate is not None
        assert self.tls_files.key is not None
        return TlsMaterial(self.tls_files.certificate.read_bytes(), self.tls_files.key.read_bytes(), client_ca)


def load(folder: Path, tls: Tls, clock: Clock) -> Keys:
    """The keys in `folder`, those that are missing made new. Beside them lies `tls-ca.pem`, for clients to trust.

    Gateways that share the folder and start together get the same keys. A folder that holds all of them may be
    read-only. Raises KeyFileUnusable, KeyRefused, BadConfiguration, OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _one_at_a_time(folder):
        return _load(folder, tls, clock)


def _load(folder: Path, tls: Tls, clock: Clock) -> Keys:
    if (tls.certificate is None) != (tls.key is None):
        raise BadConfiguration("tls: certificate and key belong together; set both or none")
    client_ca = CertificateAuthority.load_or_create(folder / "client-ca.key", "Jitgate client CA", clock)
    agent_ca = CertificateAuthority.load_or_create(folder / "agent-ca.key", "Jitgate agent CA", clock)
    own = None
    if tls.certificate is None:
        authority = CertificateAuthority.load_or_create(folder / "tls-ca.key", "Jitgate TLS CA", clock)
        _show(folder / "tls-ca.pem", authority.certificate_pem())
        own = ServerCertificate(authority, tls.names, clock)
    manifests = _manifest_key(folder / "manifests.key")
    return Keys(
        tls=own,
        tls_files=tls,
        client_ca=client_ca,
        clients=ClientCertificates(client_ca, clock),
        agent_ca=agent_ca,
        agents=ClientCertificates(agent_ca, clock, NODES),
        ssh_user_ca=SshUserCa.load_or_create(folder, clock),
        recordings=_recording_key(folder / "recordings.key"),
        manifests=manifests,
        manifest_public_keys=_public_keys(folder / "manifest-public-keys", manifests),
    )


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _show(file: Path, content: bytes) -> None:
    if not file.exists() or file.read_bytes() != content:
        file.write_bytes(content)


def _recording_key(file: Path) -> LocalKeyFile:
    return LocalKeyFile(file) if file.exists() else LocalKeyFile.create(file)


def _manifest_key(file: Path) -> LocalSigner:
    return LocalSigner.load(file) if file.exists() else LocalSigner.create(file)


def _public_keys(folder: Path, today: LocalSigner) -> tuple[bytes, ...]:
    """The public halves in `folder`, today's added: a recording outlives the key that signed it.

    Raises KeyFileUnusable for a file there that is no public key for manifests in PEM.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    _show(folder / f"{today.key_id}.pem", today.public_pem.encode())
    return tuple(public_key_in(file) for file in sorted(folder.glob("*.pem")))


def public_key_in(file: Path) -> bytes:
    """The raw public key for manifests in a PEM file. Raises KeyFileUnusable."""
    try:
        return public_key_of(file.read_bytes())
    except OSError as failure:
        raise KeyFileUnusable(f"{file} cannot be read: {failure.strerror}") from None
    except ValueError:
        raise KeyFileUnusable(f"{file} holds no Ed25519 or P-256 public key in PEM. Restore it") from None

"""Every key that the gateway holds, in one folder: made at the first start, inventoried in docs/operator.md."""

from dataclasses import dataclass
from pathlib import Path

from gateway.api.server import TlsMaterial
from gateway.config import BadConfiguration, Tls
from gateway.identity.authority import CertificateAuthority
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.ports import Clock
from gateway.identity.server_certificate import ServerCertificate
from gateway.identity.ssh_ca import SshUserCa
from recorder.key_providers.local_file import LocalKeyFile
from recorder.signing import LocalSigner


@dataclass(frozen=True, slots=True)
class Keys:
    """What the parts of the gateway sign, certify and encrypt with."""

    tls: ServerCertificate | None  # None: the operator brought a certificate
    tls_files: Tls
    client_ca: CertificateAuthority
    clients: ClientCertificates
    ssh_user_ca: SshUserCa
    recordings: LocalKeyFile
    manifests: LocalSigner

    def tls_material(self) -> TlsMaterial:
        """What a listener shows now. Raises OSError when the operator's files are gone."""
        client_ca = self.client_ca.certificate_pem()
        if self.tls is not None:
            shown = self.tls.current()
            return TlsMaterial(shown.certificate_chain, shown.private_key, client_ca)
        assert self.tls_files.certificate is not None
        assert self.tls_files.key is not None
        return TlsMaterial(self.tls_files.certificate.read_bytes(), self.tls_files.key.read_bytes(), client_ca)


def load(folder: Path, tls: Tls, clock: Clock) -> Keys:
    """The keys in `folder`, those that are missing made new. Beside them lies `tls-ca.pem`, for clients to trust.

    Raises KeyFileUnusable, KeyRefused, BadConfiguration.
    """
    if (tls.certificate is None) != (tls.key is None):
        raise BadConfiguration("tls: certificate and key belong together; set both or none")
    client_ca = CertificateAuthority.load_or_create(folder / "client-ca.key", "Jitgate client CA", clock)
    own = None
    if tls.certificate is None:
        authority = CertificateAuthority.load_or_create(folder / "tls-ca.key", "Jitgate TLS CA", clock)
        (folder / "tls-ca.pem").write_bytes(authority.certificate_pem())
        own = ServerCertificate(authority, tls.names, clock)
    return Keys(
        tls=own,
        tls_files=tls,
        client_ca=client_ca,
        clients=ClientCertificates(client_ca, clock),
        ssh_user_ca=SshUserCa.load_or_create(folder, clock),
        recordings=_recording_key(folder / "recordings.key"),
        manifests=_manifest_key(folder / "manifests.key"),
    )


def _recording_key(file: Path) -> LocalKeyFile:
    return LocalKeyFile(file) if file.exists() else LocalKeyFile.create(file)


def _manifest_key(file: Path) -> LocalSigner:
    return LocalSigner.load(file) if file.exists() else LocalSigner.create(file)

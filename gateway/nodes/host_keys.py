"""How a node proves that it is that node: its host keys, or the CA that signed its host certificate."""

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.errors import invalid
from gateway.nodes.model import SshEndpoint

MAX_KEY_LINE_LENGTH = 8192
MAX_KEYS = 8

# SHA-1 signatures and keys that only people carry are left out.
_SIGNATURES = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
_KEY_ALGORITHMS = tuple(name for names in _SIGNATURES.values() for name in names)
_CERTIFICATE_ALGORITHMS = tuple(f"{name}-cert-v01@openssh.com" for name in _KEY_ALGORITHMS)
_MIN_RSA_BITS = 2048

_WHAT_TO_DO = 'Give a line of ssh-keyscan or of /etc/ssh/ssh_host_*_key.pub, such as "ssh-ed25519 AAAA…".'


def host_key(field: str, line: str) -> str:
    """A public key line without its comment. Raises Refused INVALID_FIELD naming `field`."""
    return " ".join(_parse(field, line).export_public_key().decode().split()[:2])


def fingerprint(line: str) -> str:
    """How people compare keys: "ED25519 SHA256:…"."""
    return fingerprint_of(asyncssh.import_public_key(line))


def fingerprint_of(key: asyncssh.SSHKey) -> str:
    name = key.get_algorithm().removeprefix("ssh-").split("-")[0].upper()
    return f"{name} {key.get_fingerprint()}"


def trusted(endpoint: SshEndpoint) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
    """The host keys and host CAs of a node in the form that asyncssh wants; nothing is revoked apart."""
    keys = [asyncssh.import_public_key(line) for line in endpoint.host_keys]
    return keys, [asyncssh.import_public_key(line) for line in endpoint.host_cas], []


def accepted_algorithms(endpoint: SshEndpoint) -> list[str]:
    """Signature algorithms to ask a node for, those of its registered proofs first.

    The others follow so that a node whose key is of another kind now still shows it: it is then refused by its
    fingerprint, not with a riddle about algorithms.
    """
    names = [name for line in endpoint.host_keys for name in _SIGNATURES[line.split()[0]]]
    if endpoint.host_cas:
        names = [*_CERTIFICATE_ALGORITHMS, *names]
    return list(dict.fromkeys((*names, *_KEY_ALGORITHMS)))


def _parse(field: str, line: str) -> asyncssh.SSHKey:
    if len(line) > MAX_KEY_LINE_LENGTH:
        raise invalid(field, f"is longer than {MAX_KEY_LINE_LENGTH} characters", _WHAT_TO_DO)
    kind = line.split(maxsplit=1)[0] if line.strip() else ""
    if "\n" in line.strip() or kind not in _SIGNATURES:
        raise invalid(field, "is not one OpenSSH public key line of a host key", _WHAT_TO_DO)
    try:
        key = asyncssh.import_public_key(line)
    except (asyncssh.KeyImportError, ValueError):
        raise invalid(field, f"is not a valid {kind} public key", _WHAT_TO_DO) from None
    if isinstance(key.pyca_key, RSAPublicKey) and key.pyca_key.key_size < _MIN_RSA_BITS:
        raise invalid(field, f"is an RSA key of less than {_MIN_RSA_BITS} bits", "Use the node's ed25519 key.")
    return key

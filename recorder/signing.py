"""The manifest signing key in a file of this machine: PKCS#8 PEM, Ed25519, readable by its owner alone."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from recorder.errors import KeyRefused
from recorder.secret_files import create_secret, read_secret
from recorder.signatures import key_id_of

_MAX_FILE = 64 * 1024


class LocalSigner:
    """Signs with an Ed25519 key that this process holds."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def create(cls, path: Path) -> LocalSigner:
        """A new key in a new file; FileExistsError where there is one."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_secret(path, pem)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> LocalSigner:
        """Raises KeyRefused (missing, readable by others, no Ed25519 key), KeyUnavailable."""
        try:
            key = load_pem_private_key(read_secret(path, _MAX_FILE), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyRefused(f"{path} holds no unencrypted private key in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(f"{path} holds a key of another kind; an Ed25519 key is needed")
        return cls(key)

    @property
    def key_id(self) -> str:
        return key_id_of(self._public)

    @property
    def public_key(self) -> bytes:
        return self._public

    @property
    def public_pem(self) -> str:
        """What an auditor gets to verify with."""
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    async def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

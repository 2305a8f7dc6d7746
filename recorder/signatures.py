"""The signatures that a manifest can have, each told by its public key.

A public key goes about in its raw form: the 32 bytes of an Ed25519 key, or the 65 bytes of an uncompressed point
of P-256 (SEC 1, 2.3.3). The second kind is for keys in a KMS, which sign a digest and no long message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from recorder.ports import ManifestSigner

ED25519: Final = "Ed25519"
ECDSA_P256: Final = "ECDSA-P256-SHA256"
ALGORITHMS: Final = frozenset({ED25519, ECDSA_P256})
_ED25519_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Signature:
    """What stands in a signed file: the algorithm's name, `key_id_of` the key, and the signature."""

    algorithm: str
    key_id: str
    value: bytes

    def problem(self, message: bytes, public_keys: Collection[bytes]) -> str:
        """Why none of the raw `public_keys` vouches for `message`, as the end of a sentence; empty: one does."""
        key = next((key for key in public_keys if key_id_of(key) == self.key_id), None)
        if key is None:
            return f"is signed by key {self.key_id}, which is not among the trusted ones"
        if self.algorithm != algorithm_of(key) or not is_valid(key, self.value, message):
            return "has a signature that does not hold: it was changed"
        return ""


async def sign(message: bytes, signer: ManifestSigner) -> Signature:
    """Raises KeyUnavailable or KeyRefused."""
    value = await signer.sign(message)
    return Signature(algorithm_of(signer.public_key), signer.key_id, value)


def key_id_of(public_key: bytes) -> str:
    """The name of a raw public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def algorithm_of(public_key: bytes) -> str:
    """What a raw public key's signatures are called in a manifest."""
    return ED25519 if len(public_key) == _ED25519_BYTES else ECDSA_P256


def is_valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the key signed the message; an ECDSA signature is in DER."""
    try:
        key = _loaded(public_key)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key_of(pem: bytes) -> bytes:
    """The raw form of a public key in PEM. Raises ValueError for every other kind of key."""
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        key = None
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    raise ValueError("neither an Ed25519 nor a P-256 public key")


def pem_of(public_key: bytes) -> str:
    """What an auditor gets to verify with."""
    return _loaded(public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _loaded(public_key: bytes) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if len(public_key) == _ED25519_BYTES:
        return Ed25519PublicKey.from_public_bytes(public_key)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)

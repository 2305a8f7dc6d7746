"""Signatures of manifests: each kind of key verifies its own, and nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recorder.signatures import ECDSA_P256, ED25519, algorithm_of, is_valid, key_id_of, pem_of, public_key_of

P256 = ec.generate_private_key(ec.SECP256R1())
EDWARDS = Ed25519PrivateKey.generate()
MESSAGE = b"jitgate manifest v1\n{}"


def raw(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return public_key_of(pem(key))


def pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_length_of_the_raw_key_tells_the_algorithm() -> None:
    assert (len(raw(EDWARDS)), algorithm_of(raw(EDWARDS))) == (32, ED25519)
    assert (len(raw(P256)), algorithm_of(raw(P256))) == (65, ECDSA_P256)
    assert key_id_of(raw(P256)) != key_id_of(raw(EDWARDS))


@pytest.mark.parametrize("key", [P256, EDWARDS], ids=["p256", "ed25519"])
def test_a_key_survives_its_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
    assert pem_of(raw(key)).encode() == pem(key)


def test_each_verifies_its_own_signature_and_no_other() -> None:
    signatures = {
        raw(P256): P256.sign(MESSAGE, ec.ECDSA(SHA256())),
        raw(EDWARDS): EDWARDS.sign(MESSAGE),
        raw(other := ec.generate_private_key(ec.SECP256R1())): other.sign(MESSAGE, ec.ECDSA(SHA256())),
    }
    for key, own in signatures.items():
        for signer, signature in signatures.items():
            assert is_valid(key, signature, MESSAGE) == (key == signer)
        assert not is_valid(key, own, MESSAGE + b" ")
        assert not is_valid(key, b"", MESSAGE)
        assert not is_valid(key, bytes(64), MESSAGE)


@pytest.mark.parametrize("key", [b"", bytes(65), b"\4" + bytes(64), bytes(31)])
def test_what_is_no_key_verifies_nothing(key: bytes) -> None:
    assert not is_valid(key, bytes(64), MESSAGE)


def test_other_kinds_of_keys_are_refused() -> None:
    small = rsa.generate_private_key(65537, 2048)
    for text in (pem(ec.generate_private_key(ec.SECP384R1())), pem(small), b"nothing", b""):
        with pytest.raises(ValueError, match=r"P-256|PEM"):
            public_key_of(text)

"""The secrets of a sign-in under way, sealed with its handle: the database alone gives them to nobody."""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.identity.oidc.errors import ProofRefused, over

_NONCE_BYTES = 12


def new_secret() -> str:
    """256 random bits, in letters that a URL takes."""
    return secrets.token_urlsafe(32)


def hash_handle(handle: str) -> str:
    return hashlib.sha256(handle.encode("utf-8", "surrogatepass")).hexdigest()


def seal(handle: str, secret: Mapping[str, str]) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    plain = json.dumps(dict(secret)).encode()
    return nonce + AESGCM(_key(handle)).encrypt(nonce, plain, hash_handle(handle).encode())


def unseal(handle: str, sealed: bytes) -> dict[str, str]:
    """Raises Refused SIGN_IN_OVER for what was not sealed with this handle."""
    nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        plain = AESGCM(_key(handle)).decrypt(nonce, content, hash_handle(handle).encode())
    except (InvalidTag, ValueError):
        raise over() from None
    secret: dict[str, str] = json.loads(plain)
    return secret


def _key(handle: str) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jitgate sign-in flow")
    return derivation.derive(handle.encode("utf-8", "surrogatepass"))


def check_state(given: str, kept: str) -> None:
    """Raises ProofRefused unless the browser came back from where this sign-in had sent it."""
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), kept.encode()):
        raise ProofRefused("the browser came back from another sign-in")

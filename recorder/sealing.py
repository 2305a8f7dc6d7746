"""Keys of a recording and what each of them seals (AES-256-GCM, HKDF-SHA256).

Each data key is used for one purpose through one derived key; no key and nonce ever meet twice:
the journal counts records, input counts its offset, and a segment has a key of its own, by a random salt, so
that sealing a segment again after a crash is safe whatever it then holds.
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_BYTES: Final = 16
_NONCE: Final = struct.Struct(">IQ")


def _derive(data_key: bytes, info: bytes, salt: bytes | None = None) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, info).derive(data_key))


def journal_seal(data_key: bytes) -> AESGCM:
    return _derive(data_key, b"jitgate journal v1")


def input_seal(input_key: bytes) -> AESGCM:
    return _derive(input_key, b"jitgate input v1")


def segment_seal(data_key: bytes, salt: bytes) -> AESGCM:
    return _derive(data_key, b"jitgate segment v1", salt)


def record_nonce(part: int, index: int) -> bytes:
    return _NONCE.pack(part, index)


def input_nonce(offset: int) -> bytes:
    return _NONCE.pack(0, offset)


def segment_nonce(sequence: int) -> bytes:
    return _NONCE.pack(0, sequence)

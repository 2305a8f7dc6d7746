"""Key-encryption keys in a file of this machine: the embedded default.

The file has one key a line, `<id, 16 hex digits> <32 bytes in base64>`, newest last; only its owner may read it.
A wrapped key is `JGLK1`, the id (8 bytes), a random nonce (12 bytes) and AES-256-GCM ciphertext of the 32 bytes,
with the canonical JSON of the encryption context as additional data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recorder import canonical
from recorder.errors import KeyRefused
from recorder.ports import DataKey
from recorder.secret_files import create_secret, read_secret, replace_secret

MAGIC: Final = b"JGLK1"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = len(MAGIC) + _ID_BYTES + _NONCE_BYTES + _KEY_BYTES + 16
_LINE: Final = re.compile(r"([0-9a-f]{16}) ([A-Za-z0-9+/]{43}=)")
_MAX_FILE: Final = 1024 * 1024


class LocalKeyFile:
    """A key provider over one file. The newest key wraps; every key in the file unwraps."""

    name: Final = "local-file"

    def __init__(self, path: Path) -> None:
        """Read the file. Raises KeyRefused (missing, readable by others, malformed)."""
        self._keys = _read(path)
        self._newest = next(reversed(self._keys))

    @classmethod
    def create(cls, path: Path) -> LocalKeyFile:
        """A new file with one key; FileExistsError where there is one."""
        create_secret(path, _line().encode())
        return cls(path)

    @classmethod
    def rotate(cls, path: Path) -> LocalKeyFile:
        """Add a key that wraps from now on; the older ones go on unwrapping. Raises KeyRefused, OSError."""
        _read(path)
        replace_secret(path, (path.read_text(encoding="ascii").rstrip("\n") + "\n" + _line()).encode())
        return cls(path)

    @property
    def key_id(self) -> str:
        """The id of the key that wraps."""
        return self._newest

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        plaintext, nonce = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._keys[self._newest]).encrypt(nonce, plaintext, canonical.dump(dict(context)))
        return DataKey(plaintext, MAGIC + bytes.fromhex(self._newest) + nonce + sealed, self.name)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if len(wrapped) != _WRAPPED_BYTES or not wrapped.startswith(MAGIC):
            raise KeyRefused("this is no data key that a local key file wrapped")
        rest = wrapped[len(MAGIC) :]
        key_id, nonce = rest[:_ID_BYTES].hex(), rest[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        key = self._keys.get(key_id)
        if key is None:
            raise KeyRefused(f"the key file has no key {key_id}; put back the file that had it")
        try:
            return AESGCM(key).decrypt(nonce, rest[_ID_BYTES + _NONCE_BYTES :], canonical.dump(dict(context)))
        except InvalidTag:
            raise KeyRefused("the data key belongs to another recording, or it is damaged") from None


def _line() -> str:
    key = secrets.token_bytes(_KEY_BYTES)
    key_id = hashlib.sha256(b"jitgate key id\n" + key).hexdigest()[: _ID_BYTES * 2]
    return f"{key_id} {base64.b64encode(key).decode()}\n"


def _read(path: Path) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(read_secret(path, _MAX_FILE).split(b"\n"), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line.decode("ascii", "replace"))
        if match is None or match[1] in keys:
            raise KeyRefused(f"{path}, line {number}: expected a new 16-digit id, a space and 44 base64 digits")
        try:
            keys[match[1]] = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            raise KeyRefused(f"{path}, line {number}: the key is not base64") from None
    if not keys:
        raise KeyRefused(f"{path} holds no key")
    return keys

"""What the recorder needs from outside: keys, a signature, a place for objects, somebody to tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from recorder.model import Manifest, Quarantined

Clock = Callable[[], datetime]
"""Now, as an aware UTC datetime."""

Ticks = Callable[[], int]
"""Nanoseconds of a clock that never goes back; only differences mean anything."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key: 32 bytes in the clear for this process, and the form that may be stored.

    `provider` is who wrapped it (`local-file`, `aws-kms`), kept in the manifest beside the wrapped key.
    """

    plaintext: bytes = field(repr=False)
    wrapped: bytes
    provider: str


class KeyProvider(Protocol):
    """Wraps data keys. A wrapped key opens only under the context that it was made with."""

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        """A new 32-byte key, wrapped by the newest key-encryption key.

        Raises KeyUnavailable (later may work) or KeyRefused (never will).
        """

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The 32 bytes behind `wrapped`.

        Raises KeyUnavailable or KeyRefused (other context, unknown key, damage).
        """


class ManifestSigner(Protocol):
    """Signs manifests; `recorder/signatures.py` has the kinds of keys, and the raw form of their public halves."""

    @property
    def key_id(self) -> str:
        """Which key signs: `signatures.key_id_of` its public half."""

    @property
    def public_key(self) -> bytes:
        """The raw public key."""

    async def sign(self, message: bytes) -> bytes:
        """The signature. Raises KeyUnavailable or KeyRefused."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store has the object. `created` is False where an identical object was there already."""

    name: str
    size: int
    sha256: str
    created: bool


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing shows it; `size` in bytes."""

    name: str
    size: int


class ObjectStore(Protocol):
    """Keeps objects under names like `a/b/c.seg`: parts of letters, digits, `.`, `_` and `-`.

    No part starts with a dot.
    Everything raises StoreUnavailable where a later try may work, and RefusedName for another form of name.
    """

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        """Store `data` durably unless the name is taken; all or nothing.

        `sha256` is the hex digest that the stored object must have. An identical object under the name is a
        success. Raises ObjectConflict (other content) or ChecksumMismatch (`data` is not what `sha256` says).
        """

    async def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing."""

    async def get_range(self, name: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer, or none, beyond the end. Raises ObjectMissing."""

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Objects whose names start with `prefix`, in order of name."""

    async def delete(self, name: str) -> None:
        """Remove the object; a name that is not there is no error."""


class RecordingObserver(Protocol):
    """Hears how recordings end."""

    async def finished(self, manifest: Manifest, file: bytes) -> None:
        """The manifest is signed and stored, as `file`; everything of the session is in the object store.

        Said before the spool is freed, and again until nothing is raised.
        """

    async def quarantined(self, spool: Quarantined) -> None:
        """A spool could not be finished and was moved aside.

        Said once; `Recorder.quarantined` has those that were not taken.
        """

    async def waiting(self, session_id: str, reason: str, again_in: float) -> None:
        """An upload or a key is waiting for something outside; it is tried again after so many seconds.

        Said at each try, so what this raises is let pass.
        """

"""The inventory's file: which recordings there should be, said and signed by the gateway.

A recording that was removed with its manifest leaves no trace in the store. It stays in an inventory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from recorder import canonical
from recorder.errors import DamagedInventory, DamagedRecording
from recorder.ports import ManifestSigner
from recorder.signatures import ALGORITHMS, Signature, sign

FORMAT: Final = "jitgate-inventory-1"
SIGNED_PREFIX: Final = b"jitgate inventory v1\n"
COMPLETE: Final = "complete"
DELETED: Final = "deleted"
EVERYWHERE: Final = "*"


@dataclass(frozen=True, slots=True)
class Scope:
    """An account and a Region; `*` stands for all."""

    account: str
    region: str

    def has(self, account: str, region: str) -> bool:
        return self.account in (EVERYWHERE, account) and self.region in (EVERYWHERE, region)


@dataclass(frozen=True, slots=True)
class Deletion:
    """When a recording was deleted, and why; `by` is a user, or empty: the retention."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording. `status` is `complete`, `deleted`, or a word that says nothing of what the store has.

    `folder` (ending in a slash) and `manifest_sha256` (hex, of the file) are None until it is complete. Of one
    that was deleted the hash stays, for who has a copy, and `deletion` tells of it, which else is None.
    """

    session_id: str
    request_id: str
    account: str
    region: str
    started_at: datetime
    status: str
    folder: str | None
    manifest_sha256: str | None
    deletion: Deletion | None = field(default=None, metadata=canonical.LATER)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All recordings of `scopes` that had begun at `created_at`."""

    created_at: datetime
    scopes: tuple[Scope, ...]
    recordings: tuple[Entry, ...]

    def covers(self, account: str, region: str) -> bool:
        return any(scope.has(account, region) for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class _File:
    format: str
    inventory: Inventory
    signature: Signature


async def sign_inventory(inventory: Inventory, signer: ManifestSigner) -> bytes:
    """The inventory's file. Raises KeyUnavailable or KeyRefused."""
    signature = await sign(SIGNED_PREFIX + canonical.dump(inventory), signer)
    return canonical.dump(_File(FORMAT, inventory, signature))


def check_inventory(data: bytes, public_keys: Collection[bytes]) -> Inventory:
    """The inventory in a file, if one of the raw `public_keys` signed it. Raises DamagedInventory."""
    try:
        parsed = canonical.build(_File, canonical.load(data), "file")
    except DamagedRecording as damaged:
        raise DamagedInventory(f"the inventory cannot be read: {damaged}") from None
    if parsed.format != FORMAT or parsed.signature.algorithm not in ALGORITHMS:
        raise DamagedInventory(f"the inventory is of format {parsed.format!r}; this version reads {FORMAT}")
    if canonical.dump(parsed) != data:
        raise DamagedInventory("the inventory is not in its canonical form: it was changed")
    if problem := parsed.signature.problem(SIGNED_PREFIX + canonical.dump(parsed.inventory), public_keys):
        raise DamagedInventory(f"the inventory {problem}")
    return parsed.inventory

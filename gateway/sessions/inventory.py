"""The signed list of recordings that there should be (R27): with it, one that was removed as a whole is missed."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.sessions.model import RecordingStatus
from gateway.store import events, recordings
from gateway.store.database import Database
from gateway.store.scopes import narrowed
from jitgate.v1 import annotations_pb2 as declared
from recorder.canonical import MAX_BYTES
from recorder.errors import KeyFailed
from recorder.inventory import Deletion, Entry, Inventory, Scope, sign_inventory
from recorder.manifest import parse_manifest
from recorder.ports import ManifestSigner


class Inventories:
    """Makes inventories from the gateway's index, signed with the key that signs manifests."""

    def __init__(self, database: Database, signer: ManifestSigner, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock

    async def make(self, caller: Caller, account: str = "", region: str = "") -> bytes:
        """The file with every recording that the caller may see, of one account and Region where named.

        Raises Refused INVENTORY_TOO_LARGE, KEY_UNAVAILABLE.
        """
        scopes = narrowed(caller.scopes(declared.PERMISSION_READ_RECORDINGS), account, region)
        created_at = self._clock()
        entries = []
        async with self._database.read() as connection:
            async for rows in recordings.listed(connection, scopes):
                entries += await asyncio.to_thread(_entries, rows)
        inventory = Inventory(created_at, tuple(Scope(*scope) for scope in sorted(scopes)), tuple(entries))
        try:
            data = await sign_inventory(inventory, self._signer)
        except KeyFailed as failure:
            raise Refused(
                Kind.UNAVAILABLE,
                "KEY_UNAVAILABLE",
                f"The inventory cannot be signed now: {failure}",
                "Try again later; jit doctor says what is missing.",
                retry_after=timedelta(seconds=5),
            ) from failure
        if len(data) > MAX_BYTES:
            raise Refused(
                Kind.FAILED_PRECONDITION,
                "INVENTORY_TOO_LARGE",
                f"An inventory of {len(entries)} recordings is larger than what can be verified",
                "Make one for each account and Region: --account, --region.",
            )
        await self._tell(caller, inventory, data, account, region)
        return data

    async def _tell(self, caller: Caller, inventory: Inventory, data: bytes, account: str, region: str) -> None:
        count = len(inventory.recordings)
        event = events.Event(
            type="recording.inventoried",
            at=inventory.created_at,
            subject="recordings",
            summary=f"{caller.user.id} took an inventory of {count} recordings",
            actor_id=caller.user.id,
            source_address=caller.source_address,
            account=account,
            region=region,
            details={"recordings": count, "sha256": hashlib.sha256(data).hexdigest()},
        )
        async with self._database.transaction() as tx:
            await events.append(tx.connection, event)


def _entries(rows: list[recordings.Listed]) -> list[Entry]:
    return [_entry(row) for row in rows]


def _entry(row: recordings.Listed) -> Entry:
    manifest = row.manifest if row.status is RecordingStatus.COMPLETE else None
    sha256 = None if manifest is None else hashlib.sha256(manifest).hexdigest()
    deletion = None
    if row.deletion is not None and row.deletion.deleted_at is not None:
        sha256 = row.deletion.manifest_sha256
        deletion = Deletion(row.deletion.deleted_at, row.deletion.actor_id, row.deletion.reason)
    return Entry(
        session_id=row.session_id,
        request_id=row.request_id,
        account=row.account,
        region=row.region,
        started_at=row.started_at,
        status=row.status.value.lower(),
        folder=None if manifest is None else parse_manifest(manifest).prefix,
        manifest_sha256=sha256,
        deletion=deletion,
    )

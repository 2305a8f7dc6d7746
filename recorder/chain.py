"""The growing chain of one session's segments in the object store, and the manifest that closes it.

The living writer and a recovery after its death use the same two steps; both may be killed between any two lines
and begun again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, TypeVar

from recorder.errors import ObjectConflict, ObjectMissing, ObserverFailed, StoreUnavailable
from recorder.events import Batch, Tally
from recorder.manifest import check_manifest, sign_manifest
from recorder.model import GENESIS, Epoch, Manifest, SegmentEntry, manifest_name, prefix_of, segment_name
from recorder.ports import ManifestSigner, ObjectStore, Receipt, RecordingObserver
from recorder.segment import Place, entry_of, open_segment, seal_segment
from recorder.spool import Earlier, SessionFolder, SpoolHead, StoredLine

T = TypeVar("T")


class Attempt(Protocol):
    """How often what may fail for a while is tried: once (recovery), or until it works (a living session)."""

    async def __call__(self, action: Callable[[], Awaitable[T]]) -> T: ...


async def once(action: Callable[[], Awaitable[T]]) -> T:
    return await action()


class Chain:
    """Segments stored so far, in order. Belongs to one task at a time."""

    def __init__(
        self, folder: SessionFolder, head: SpoolHead, data_key: bytes, store: ObjectStore, attempt: Attempt
    ) -> None:
        self.folder = folder
        self.head = head
        self.entries: list[SegmentEntry] = []
        earlier = head.earlier or Earlier((), Tally(head.session.columns, head.session.rows))
        self.earlier = earlier
        self.tally = earlier.tally.copy()
        self.attempt = attempt
        self._data_key = data_key
        self._store = store
        self._previous = bytes.fromhex(earlier.epochs[-1].head) if earlier.epochs else GENESIS
        self._prefix = prefix_of(head.session, head.started_at)

    def resume(self, noted: list[StoredLine]) -> None:
        """Take up a chain from what its spool remembers."""
        self.entries = [line.entry for line in noted]
        if noted:
            self.tally = noted[-1].tally.copy()
            self._previous = bytes.fromhex(noted[-1].entry.sha256)

    async def append(self, batch: Batch, end: Tally | None = None, sure: int | None = None) -> None:
        """Seal the next segment and store it, in one try. `end` is the tally after it, where the caller knows it.

        A segment of that place may be there already, from an attempt that was killed. It is adopted if it opens
        with this recording's key and begins with the first `sure` events of `batch` (default: all): what comes
        after those is what a recovery adds. Raises ObjectConflict or DamagedRecording (somebody else's
        object), StoreUnavailable.
        """
        place = Place(self.head.session.session_id, self.head.epoch, len(self.entries), self._previous)
        name = segment_name(self._prefix, place.epoch, place.sequence)
        blob, entry = await asyncio.to_thread(seal_segment, place, self._data_key, batch)
        try:
            await put_verified(self._store, name, blob, entry.sha256)
        except ObjectConflict:
            batch, entry = await self._adopt(name, place, batch, len(batch) if sure is None else sure)
            end = None
        await self._link(entry, await asyncio.to_thread(batch.end) if end is None else end)

    async def find(self) -> bool:
        """Adopt the next segment if the store has it; whether it has. Raises as `append` does."""
        place = Place(self.head.session.session_id, self.head.epoch, len(self.entries), self._previous)
        name = segment_name(self._prefix, place.epoch, place.sequence)
        try:
            batch, entry = await self._adopt(name, place, Batch(self.tally.copy()), 0)
        except ObjectMissing:
            return False
        await self._link(entry, batch.end())
        return True

    def left(self) -> Earlier:
        """What an epoch after this one begins with."""
        return Earlier(self._epochs(), self.tally.copy())

    async def _link(self, entry: SegmentEntry, end: Tally) -> None:
        self.tally = end
        self.entries.append(entry)
        self._previous = bytes.fromhex(entry.sha256)
        line = StoredLine(entry, end)
        with contextlib.suppress(OSError):  # only a shortcut: without it a recovery asks the store
            await asyncio.to_thread(self.folder.note_stored, line)

    async def finish(
        self,
        signer: ManifestSigner,
        public_keys: Collection[bytes],
        observer: RecordingObserver | None,
        *,
        recovered: bool,
    ) -> Manifest:
        """Sign the manifest, store it, tell the observer, free the spool.

        A manifest may be there already, from an attempt that was killed: it is adopted if `public_keys` have the
        key that signed it and it says the same. Raises DamagedManifest or ObjectConflict for any other.
        """
        manifest = self._manifest(recovered)
        name = manifest_name(self._prefix, self.head.epoch)
        data = await self.attempt(lambda: sign_manifest(manifest, signer))
        digest = hashlib.sha256(data).hexdigest()
        try:
            await self.attempt(lambda: put_verified(self._store, name, data, digest))
        except ObjectConflict:
            data = await self.attempt(lambda: self._store.get(name))
            found = check_manifest(data, public_keys)
            if replace(found, recovered=recovered) != manifest:  # who finishes it is chance
                raise
            manifest = found
        if observer is not None:
            told = observer
            await self.attempt(lambda: _tell(told, manifest, data))
        await asyncio.to_thread(self.folder.remove)
        return manifest

    async def _adopt(self, name: str, place: Place, batch: Batch, sure: int) -> tuple[Batch, SegmentEntry]:
        blob = await self._store.get(name)
        stored = await asyncio.to_thread(open_segment, blob, place, self._data_key)
        if not (stored.begins_with(batch, sure) and stored.starts_at(batch.start)):
            raise ObjectConflict(f"{name} holds other events than the spool")
        stored.start = batch.start  # a segment does not know what was before it: exit, gaps
        return stored, entry_of(blob, stored)

    def _manifest(self, recovered: bool) -> Manifest:
        head, tally = self.head, self.tally
        return Manifest(
            session=head.session,
            started_at=head.started_at,
            ended_at=head.started_at + timedelta(microseconds=tally.last_us),
            ended=tally.ended or "",
            recovered=recovered,
            epochs=self._epochs(),
            bytes_out=tally.output,
            bytes_stderr=tally.stderr,
            bytes_in=tally.input,
            gaps=tuple(tally.gaps),
            exit_status=tally.exit_status,
        )

    def _epochs(self) -> tuple[Epoch, ...]:
        head = self.head
        this = Epoch(
            epoch=head.epoch,
            key_provider=head.key_provider,
            wrapped_key=head.wrapped_key,
            wrapped_input_key=head.wrapped_input_key,
            segments=tuple(self.entries),
            head=self._previous.hex(),
        )
        return (*self.earlier.epochs, this)


async def put_verified(store: ObjectStore, name: str, data: bytes, sha256: str) -> Receipt:
    """Store, and believe only a receipt that names what was sent. Raises StoreUnavailable where it does not."""
    receipt = await store.put_if_absent(name, data, sha256)
    if (receipt.sha256, receipt.size) != (sha256, len(data)):
        raise StoreUnavailable(f"the store's receipt for {name} does not fit what was sent")
    return receipt


async def _tell(observer: RecordingObserver, manifest: Manifest, file: bytes) -> None:
    try:
        await observer.finished(manifest, file)
    except Exception as failure:
        raise ObserverFailed(f"{type(failure).__name__}: {failure}") from failure

"""Finishing what a dead writer left in the spool.

Every step finds out what was done before: a recovery may be killed anywhere and run again. It writes no journal
and seals segments under keys of their own salt, so no nonce is used twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from recorder.chain import Chain, once
from recorder.events import Batch, gap_payload
from recorder.journal import read_part
from recorder.model import Durability, Kind, Manifest, Purpose, Quarantined, encryption_context, key_context
from recorder.ports import KeyProvider, ManifestSigner, ObjectStore, RecordingObserver
from recorder.sealing import journal_seal
from recorder.spool import SessionFolder, SpoolHead, boot_id
from recorder.uploading import TRANSIENT

INTERRUPTED: Final = "interrupted: the recorder ended before the session did"
POWER_LOSS: Final = "the machine went down: up to 50 ms before this may be missing"
LOST_SPOOL: Final = "the spool is lost: what was not stored is missing, but for what the node said again"
LOST_PART: Final = "a part of the spool is lost"
RETRY_SECONDS: Final = 30.0
"""What waits is tried again after so long."""
TORN_PART: Final = "a part of the spool ends within a record"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something outside cannot be reached now; the spool stays as it is."""

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finisher:
    """What finishing needs. Neither step raises for what a spool holds.

    `spool` is where the quarantine is; a manifest that is stored already is believed by `public_keys`.
    """

    spool: Path
    store: ObjectStore
    keys: KeyProvider
    signer: ManifestSigner
    public_keys: Collection[bytes]
    observer: RecordingObserver | None

    async def recover(self, folder: SessionFolder) -> Manifest | Quarantined | Waiting | None:
        """Finish one recording. None: nothing was ever recorded."""
        return await self._take(folder, self._finish)

    async def settle(self, folder: SessionFolder) -> Chain | Manifest | Quarantined | Waiting | None:
        """Seal and store what one recording has, and leave its end open; a Manifest where it had ended."""
        return await self._take(folder, self._leave_open)

    async def _take(
        self, folder: SessionFolder, step: Callable[[SessionFolder, SpoolHead], Awaitable[T]]
    ) -> T | Quarantined | Waiting | None:
        try:
            head = await self._head(folder)
            return None if head is None else await step(folder, head)
        except TRANSIENT as failure:
            return await self._wait(folder, str(failure))
        except Exception as failure:  # noqa: BLE001 - one spool, whatever is in it, blocks no other
            if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
                return await self._wait(folder, str(failure))
            return await self.quarantine(folder, f"{type(failure).__name__}: {failure}")

    async def quarantine(self, folder: SessionFolder, reason: str) -> Quarantined | Waiting:
        """Move a spool aside and tell the observer; where that fails it waits."""
        try:
            aside = await asyncio.to_thread(folder.quarantine, self.spool, reason)
        except OSError as failure:
            return await self._wait(folder, f"{reason}; it cannot be moved to the quarantine: {failure}")
        if self.observer is not None:
            with contextlib.suppress(Exception):  # it is moved; the answer and reason.txt tell as well
                await self.observer.quarantined(aside)
        return aside

    async def _wait(self, folder: SessionFolder, reason: str) -> Waiting:
        if self.observer is not None:
            with contextlib.suppress(Exception):  # the next try tells again
                await self.observer.waiting(folder.path.name, reason, RETRY_SECONDS)
        return Waiting(folder.path.name, reason)

    async def _head(self, folder: SessionFolder) -> SpoolHead | None:
        try:
            return await asyncio.to_thread(folder.head)
        except FileNotFoundError:
            if folder.parts():
                raise
            # Killed while opening: traffic begins only after the head is there.
            await asyncio.to_thread(folder.remove)
            return None

    async def _finish(self, folder: SessionFolder, head: SpoolHead) -> Manifest:
        chain = await self._sealed(folder, head, _end)
        while chain.tally.ended is None:
            batch = Batch(chain.tally.copy())
            if folder.is_lost:
                _note_once(batch, head, LOST_SPOOL)
            _end(batch, head)
            await chain.append(batch, sure=0)
        return await self._close(chain)

    async def _leave_open(self, folder: SessionFolder, head: SpoolHead) -> Chain | Manifest:
        chain = await self._sealed(folder, head, _note_power_loss)
        while await chain.find():
            pass  # a recovery may have stored more, its end even, before it was killed
        if chain.tally.ended is not None:
            return await self._close(chain)
        batch = Batch(chain.tally.copy())
        _note_power_loss(batch, head)
        if folder.is_lost:
            _note_once(batch, head, LOST_SPOOL)
        if batch:
            await chain.append(batch, sure=0)
        return chain

    async def _close(self, chain: Chain) -> Manifest:
        recovered = chain.tally.ended == INTERRUPTED
        return await chain.finish(self.signer, self.public_keys, self.observer, recovered=recovered)

    async def _sealed(
        self, folder: SessionFolder, head: SpoolHead, add_last: Callable[[Batch, SpoolHead], None]
    ) -> Chain:
        """Every part that the spool has, stored; `add_last` may add to the last one, unless it has its END."""
        context = key_context(encryption_context(head.session), head.epoch, Purpose.RECORDING)
        data_key = await self.keys.unwrap(head.wrapped_key, context)
        chain = Chain(folder, head, data_key, self.store, once)
        chain.resume(await asyncio.to_thread(folder.stored))
        seal = journal_seal(data_key)
        parts = folder.parts()
        last = parts[-1] if parts else -1
        for number in range(len(chain.entries), last + 1):
            batch = Batch(chain.tally.copy())
            sure = 0
            if number in parts:
                data = await asyncio.to_thread(folder.part(number).read_bytes)
                reading = await asyncio.to_thread(read_part, data, number, seal, chain.tally.copy())
                batch, sure = reading.batch, len(reading.batch)
                if reading.torn and number != last:
                    _gap(batch, reading.torn, TORN_PART)
            if number not in parts or (not batch and number != last):
                _gap(batch, 0, LOST_PART)
            if number == last and batch.end().ended is None:
                add_last(batch, head)
            if batch:
                await chain.append(batch, sure=sure)
        return chain


def _gap(batch: Batch, lost: int, reason: str) -> None:
    batch.add(Kind.GAP, batch.end().last_us, gap_payload(None, 0, lost, reason))


def _note_power_loss(batch: Batch, head: SpoolHead) -> None:
    """Say once an epoch that its machine went down, where that may have cost something."""
    now = boot_id()
    if head.durability != Durability.PROCESS or (now and head.boot_id == now):
        return
    _note_once(batch, head, POWER_LOSS)


def _note_once(batch: Batch, head: SpoolHead, reason: str) -> None:
    """A gap that an epoch has once, however often it is recovered."""
    before = len(head.earlier.tally.gaps) if head.earlier else 0
    if all(gap.reason != reason for gap in batch.end().gaps[before:]):
        _gap(batch, 0, reason)


def _end(batch: Batch, head: SpoolHead) -> None:
    _note_power_loss(batch, head)
    batch.add(Kind.END, batch.end().last_us, INTERRUPTED.encode())

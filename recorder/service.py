"""The recorder of one process: opens recordings, uploads what they wrote, finishes what dead writers left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recorder.chain import Chain
from recorder.errors import RecorderError, RecordingFailed
from recorder.model import (
    FIRST_EPOCH,
    Durability,
    Manifest,
    Purpose,
    Quarantined,
    Recovery,
    SessionInfo,
    encryption_context,
    key_context,
)
from recorder.ports import Clock, DataKey, KeyProvider, ManifestSigner, ObjectStore, RecordingObserver, Ticks
from recorder.recording import Recording, Shared
from recorder.recovery import Finisher, Waiting
from recorder.sealing import input_seal, journal_seal
from recorder.spool import (
    SPOOL_FORMAT,
    SessionFolder,
    SpoolHead,
    WriterFolder,
    boot_id,
    claim_dead,
    claim_new,
)
from recorder.syncing import GroupSync
from recorder.uploading import Memory, Persistent

SEGMENT_BYTES: Final = 8 * 1024 * 1024
SEGMENT_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 64 * 1024 * 1024
RETRY_SECONDS: Final = 30.0
_AT_ONCE: Final = 4


def utc_now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Owns one writer's folder below `spool_dir`; any number of processes may share `spool_dir`."""

    def __init__(
        self,
        spool_dir: Path,
        store: ObjectStore,
        keys: KeyProvider,
        signer: ManifestSigner,
        *,
        durability: Durability = Durability.PROCESS,
        observer: RecordingObserver | None = None,
        clock: Clock = utc_now,
        ticks: Ticks = time.monotonic_ns,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._spool = spool_dir
        self._store = store
        self._keys = keys
        self._durability = durability
        self._observer = observer
        self._signer = signer
        self._clock = clock
        self._finisher = Finisher(spool_dir, store, keys, signer, observer)
        self._sync = GroupSync()
        self._shared = Shared(
            sync=self._sync,
            memory=Memory(memory_bytes),
            segment_bytes=segment_bytes,
            segment_seconds=segment_seconds,
            durability=durability,
            ticks=ticks,
        )
        self._writer: WriterFolder | None = None
        self._dead: list[WriterFolder] = []
        self._live: dict[str, Recording] = {}
        self._retries: asyncio.Task[None] | None = None

    async def start(self) -> Recovery:
        """Claim a folder in the spool and finish, once each, what dead writers left there.

        Call once, before `open`. What has to wait is tried again in the background. Raises OSError where the spool
        cannot be used at all.
        """
        self._writer = await asyncio.to_thread(claim_new, self._spool)
        recovery = await self._recover()
        self._retries = asyncio.get_running_loop().create_task(self._retry())
        return recovery

    async def stop(self, timeout: float = 10.0) -> None:
        """Close what is open, wait up to `timeout` seconds for the uploads; the rest is left to the next start."""
        if self._retries is not None:
            self._retries.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retries
        live = list(self._live.values())
        closing = [asyncio.ensure_future(each.close("the recorder was stopped")) for each in live]
        if closing:
            await asyncio.wait(closing, timeout=timeout)
        for recording in self._live.copy().values():
            recording.abandon()
        await asyncio.gather(*closing, return_exceptions=True)
        self._sync.close()
        for folder in [*self._dead, *([self._writer] if self._writer else [])]:
            await asyncio.to_thread(folder.release)
        self._dead, self._writer = [], None

    async def open(self, session: SessionInfo) -> Recording:
        """Begin a recording: its data keys are wrapped and persisted before this returns.

        Raises RecordingFailed with the reason (no key, no disk, the session is already being recorded).
        """
        if self._writer is None:
            raise RecordingFailed("the recorder is not running")
        folder = SessionFolder(self._writer.path / session.session_id)
        try:
            key = await self._data_key(session, Purpose.RECORDING)
            input_key = await self._data_key(session, Purpose.INPUT) if session.record_input_content else None
            head = SpoolHead(
                format=SPOOL_FORMAT,
                session=session,
                started_at=self._clock(),
                epoch=FIRST_EPOCH,
                key_provider=self._keys.name,
                wrapped_key=key.wrapped,
                wrapped_input_key=None if input_key is None else input_key.wrapped,
                boot_id=boot_id(),
                durability=self._durability.value,
            )
            await asyncio.to_thread(folder.create, head)
        except FileExistsError:
            raise RecordingFailed(f"session {session.session_id} is already being recorded") from None
        except (RecorderError, OSError, UnicodeError) as failure:
            raise RecordingFailed(f"no recording can be made: {failure}") from failure
        recording = self._recording(folder, head, key, input_key)
        self._live[session.session_id] = recording
        return recording

    def _recording(
        self, folder: SessionFolder, head: SpoolHead, key: DataKey, input_key: DataKey | None
    ) -> Recording:
        seal = journal_seal(key.plaintext)
        attempt = Persistent(head.session.session_id, self._observer)
        chain = Chain(folder, head, key.plaintext, self._store, attempt)
        typed = None if input_key is None else input_seal(input_key.plaintext)
        return Recording(chain, seal, typed, shared=self._shared, finish=self._finish)

    async def _data_key(self, session: SessionInfo, purpose: Purpose) -> DataKey:
        context = key_context(encryption_context(session), FIRST_EPOCH, purpose)
        return await self._keys.generate_data_key(context)

    async def _finish(self, recording: Recording) -> Manifest:
        chain = recording.uploader.chain
        try:
            await recording.uploader.drained()
            return await chain.finish(self._signer, self._observer, recovered=False)
        except Exception as refusal:
            if recording.abandoned:
                raise RecordingFailed("the recorder was stopped; its next start finishes this") from None
            await self._finisher.quarantine(chain.folder, f"{type(refusal).__name__}: {refusal}")
            raise RecordingFailed(f"the recording could not be finished: {refusal}") from refusal
        finally:
            self._live.pop(recording.session.session_id, None)

    async def _recover(self) -> Recovery:
        self._dead.extend(await asyncio.to_thread(claim_dead, self._spool))
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(folder: SessionFolder) -> Manifest | Quarantined | Waiting | None:
            async with slots:
                return await self._finisher.recover(folder)

        folders = [session for writer in self._dead for session in writer.sessions()]
        outcomes = await asyncio.gather(*map(one, folders))
        still: list[WriterFolder] = []
        for writer in self._dead:
            if writer.sessions():
                still.append(writer)
            else:
                writer.release()
        self._dead = still
        return Recovery(
            finished=tuple(each for each in outcomes if isinstance(each, Manifest)),
            quarantined=tuple(each for each in outcomes if isinstance(each, Quarantined)),
            waiting=tuple(each.session_id for each in outcomes if isinstance(each, Waiting)),
        )

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(OSError):  # the spool may be away for a moment; the next round looks again
                await self._recover()

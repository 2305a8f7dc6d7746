"""The recorder of one process: opens recordings, uploads what they wrote, finishes what dead writers left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from recorder.chain import Chain
from recorder.errors import RecorderError, RecordingFailed
from recorder.holding import Holding
from recorder.model import (
    FIRST_EPOCH,
    Durability,
    Manifest,
    Pending,
    Purpose,
    Quarantined,
    Recovery,
    SessionInfo,
    encryption_context,
    key_context,
)
from recorder.ports import Clock, DataKey, KeyProvider, ManifestSigner, ObjectStore, RecordingObserver, Ticks
from recorder.recording import Recording, Shared
from recorder.recovery import RETRY_SECONDS, Finisher, Waiting
from recorder.room import Quota, Room
from recorder.sealing import input_seal, journal_seal
from recorder.spool import (
    SPOOL_FORMAT,
    Earlier,
    SessionFolder,
    SpoolHead,
    WriterFolder,
    boot_id,
    claim_dead,
    claim_new,
    has,
    newest,
    parse_head,
    quarantined,
    readmit,
    stand_in,
)
from recorder.syncing import GroupSync
from recorder.uploading import Memory, Persistent

SEGMENT_BYTES: Final = 8 * 1024 * 1024
SEGMENT_SECONDS: Final = 60.0
STORE_SECONDS: Final = 2.0
STORE_BYTES: Final = 1024 * 1024
"""The same under STORE: half of what an agent keeps, so that it need not wait for an object's time to be over."""
MEMORY_BYTES: Final = 64 * 1024 * 1024
_LOOK_SECONDS: Final = 1.0
_AT_ONCE: Final = 4
_USUAL: Final = Quota()


Hold = Callable[[str], bool] | frozenset[str]
"""Session ids whose recordings are not ended although their writer died, for they may go on."""


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
        public_keys: Collection[bytes] = (),
        durability: Durability = Durability.PROCESS,
        quota: Quota = _USUAL,
        observer: RecordingObserver | None = None,
        clock: Clock = utc_now,
        ticks: Ticks = time.monotonic_ns,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """`public_keys`: raw ones by which a manifest is believed that is stored already, beside the signer's."""
        self._spool = spool_dir
        self._store = store
        self._keys = keys
        self._durability = durability
        self._observer = observer
        self._signer = signer
        self._public_keys = (signer.public_key, *public_keys)
        self._clock = clock
        self._finisher = Finisher(spool_dir, store, keys, signer, self._public_keys, observer)
        self._sync = GroupSync()
        is_store = durability is Durability.STORE
        self.room = Room(spool_dir, quota)
        self._shared = Shared(
            sync=self._sync,
            memory=Memory(memory_bytes),
            room=self.room,
            segment_bytes=min(segment_bytes, STORE_BYTES) if is_store else segment_bytes,
            segment_seconds=min(segment_seconds, STORE_SECONDS) if is_store else segment_seconds,
            durability=durability,
            ticks=ticks,
        )
        self._writer: WriterFolder | None = None
        self._dead: list[WriterFolder] = []
        self._live: dict[str, Recording] = {}
        self._hold: Callable[[str], bool] = frozenset[str]().__contains__
        self._holding = Holding(self._finisher, self._begin)
        self._held_back: dict[Recording, int] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._recovering = asyncio.Lock()

    async def start(self, hold: Hold = frozenset()) -> Recovery:
        """Claim a folder in the spool and finish, once each, what dead writers left there.

        Sessions that `hold` names are not ended: what they have is stored; they wait for `resume` or `give_up`.
        Call once, before `open`. What has to wait is tried again in the background. Raises OSError where the spool
        cannot be used at all.
        """
        self._hold = hold.__contains__ if isinstance(hold, frozenset) else hold
        self._writer = await asyncio.to_thread(claim_new, self._spool)
        await self.room.measure()
        recovery = await self._recover()
        self._workers = [asyncio.create_task(self._retry()), asyncio.create_task(self._keep_room())]
        return recovery

    async def stop(self, timeout: float = 10.0) -> None:
        """Close what is open, wait up to `timeout` seconds for the uploads; the rest is left to the next start.

        Suspended recordings and held ones stay as they are.
        """
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._holding.let_go()
        live = [each for each in self._live.values() if not each.abandoned]
        closing = [asyncio.ensure_future(each.close("the recorder was stopped")) for each in live]
        if closing:
            await asyncio.wait(closing, timeout=timeout)
        for recording in self._live.copy().values():
            if not recording.abandoned:
                recording.abandon()
        await asyncio.gather(*closing, return_exceptions=True)
        self._sync.close()
        for folder in [*self._dead, *([self._writer] if self._writer else [])]:
            await asyncio.to_thread(folder.release)
        self._dead, self._writer = [], None

    async def open(self, session: SessionInfo) -> Recording:
        """Begin a recording: its data keys are wrapped and persisted before this returns.

        Raises RecordingFailed with the reason (no key, no disk or room in the spool, the session is already being
        recorded).
        """
        if self.room.is_crowded:
            with contextlib.suppress(OSError):  # what was last seen counts, then
                await self.room.measure()
        if self.room.is_crowded:
            raise RecordingFailed(str(self.room))
        if session.session_id in self.held:
            raise RecordingFailed(f"session {session.session_id} is already being recorded")
        return await self._begin(session, self._clock(), None, None)

    @property
    def held(self) -> frozenset[str]:
        """Sessions whose recordings can be resumed."""
        return self._holding.names

    async def resume(self, session_id: str) -> Recording:
        """A held recording goes on, in an epoch with data keys of its own: they are persisted before this returns.

        Offsets, time, chain and exit go on where they were. Raises RecordingFailed: the session is not held (any
        more), or something is away; then it is still held, and may be resumed later. So it is when the caller does
        not wait for the end.
        """
        return await self._holding.take(session_id)

    async def take_over(self, head: bytes) -> None:
        """Hold a recording whose spool is lost, by its `Recording.head` and what the store has of it.

        The gap is noted; whoever still writes to it is refused by the store. Raises RecordingFailed: it was not
        made under STORE, or something of it is in this spool.
        """
        try:
            found = parse_head(head)
        except RecorderError as failure:
            raise RecordingFailed(f"the recording cannot be taken over: {failure}") from failure
        session_id = found.session.session_id
        if found.durability != Durability.STORE or await asyncio.to_thread(has, self._spool, session_id):
            raise RecordingFailed(f"the recording of {session_id} is not one that is lost and could be taken over")
        try:
            writer, folder = await asyncio.to_thread(stand_in, self._spool, found)
        except OSError as failure:
            raise RecordingFailed(f"no recording can be made: {failure}") from failure
        self._dead.append(writer)
        self._holding.keep(folder)

    async def give_up(self, session_id: str) -> None:
        """Finish a held recording as the next start would have without holding it. Nothing, where it is not held.

        What is away is waited for in the background.
        """
        await self._holding.give_up(session_id)

    async def pending(self) -> list[Pending]:
        """What is in the spool of this process: of what it writes, and of what it found there. Raises OSError."""
        found = [folder for writer in self._dead for folder in writer.sessions()]
        live = [recording.pending() for recording in self._live.values()]
        return live + await asyncio.to_thread(lambda: [folder.pending() for folder in found])

    async def quarantined(self) -> list[Quarantined]:
        """What is in the spool's quarantine, whoever put it there. Raises OSError."""
        return await asyncio.to_thread(quarantined, self._spool)

    async def retry(self, session_id: str) -> bool:
        """Tries once more to finish a recording that is in quarantine; False: it is not. Raises OSError."""
        writer = await asyncio.to_thread(readmit, self._spool, session_id)
        if writer is None:
            return False
        self._dead.append(writer)
        await self._recover()
        return True

    async def _begin(
        self, session: SessionInfo, started_at: datetime, left: Earlier | None, before: SessionFolder | None
    ) -> Recording:
        if self._writer is None:
            raise RecordingFailed("the recorder is not running")
        folder = SessionFolder(self._writer.path / session.session_id)
        epoch = FIRST_EPOCH if left is None else left.epochs[-1].epoch + 1
        try:
            key = await self._data_key(session, epoch, Purpose.RECORDING)
            input_key = None
            if session.record_input_content:
                input_key = await self._data_key(session, epoch, Purpose.INPUT)
            head = SpoolHead(
                format=SPOOL_FORMAT,
                session=session,
                started_at=started_at,
                epoch=epoch,
                key_provider=key.provider,
                wrapped_key=key.wrapped,
                wrapped_input_key=None if input_key is None else input_key.wrapped,
                boot_id=boot_id(),
                durability=self._durability.value,
                earlier=left,
            )
            if before is None:
                await _finished(asyncio.to_thread(folder.create, head))
            else:
                await _finished(asyncio.to_thread(folder.replace, before, head))
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
        began_us = 0
        if head.earlier is not None:
            passed = (self._clock() - head.started_at) // timedelta(microseconds=1)
            began_us = max(head.earlier.tally.last_us, passed)
        return Recording(chain, seal, typed, shared=self._shared, finish=self._finish, began_us=began_us)

    async def _data_key(self, session: SessionInfo, epoch: int, purpose: Purpose) -> DataKey:
        return await self._keys.generate_data_key(key_context(encryption_context(session), epoch, purpose))

    async def _finish(self, recording: Recording) -> Manifest:
        chain = recording.uploader.chain
        try:
            await recording.uploader.drained()
            return await chain.finish(self._signer, self._public_keys, self._observer, recovered=False)
        except Exception as refusal:
            if recording.abandoned:
                raise RecordingFailed("the recorder was stopped; its next start finishes this") from None
            await self._finisher.quarantine(chain.folder, f"{type(refusal).__name__}: {refusal}")
            raise RecordingFailed(f"the recording could not be finished: {refusal}") from refusal
        finally:
            self._live.pop(recording.session.session_id, None)

    async def _recover(self) -> Recovery:
        async with self._recovering:
            return await self._recover_dead()

    async def _recover_dead(self) -> Recovery:
        claimed = await asyncio.to_thread(claim_dead, self._spool)
        self._dead.extend(claimed)
        fresh = {writer.path for writer in claimed}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(folder: SessionFolder) -> Manifest | Quarantined | Waiting | None:
            name = folder.path.name
            async with slots:
                if folder.path.parent not in fresh or not self._hold(name):
                    return await self._finisher.recover(folder)
                outcome = await self._finisher.settle(folder)
            if isinstance(outcome, Chain | Waiting):
                self._holding.keep(folder)
                return None
            return outcome

        left = [folder for writer in self._dead for folder in writer.sessions() if not self._holding.has(folder)]
        outcomes = await asyncio.gather(*map(one, await asyncio.to_thread(newest, left)))
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
            held=tuple(sorted(self.held)),
        )

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(OSError):  # the spool may be away for a moment; the next round looks again
                await self._recover()

    async def _keep_room(self) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(OSError):  # the spool may be away for a moment; what is written says so
                await self.room.measure()
            self._relieve()
            # However many files there are, to look at them must not become the work.
            await asyncio.sleep(max(_LOOK_SECONDS, 20 * (time.monotonic() - began)))

    def _relieve(self) -> None:
        """Has what is held back stored soon, and ends what has been held back for too long."""
        now = self._shared.ticks()
        held_back = [each for each in self._live.values() if each.is_held_back and not each.ended]
        self._held_back = {each: self._held_back.get(each, now) for each in held_back}
        for recording, since in self._held_back.items():
            recording.hand_over()
            waited = (now - since) / 1e9
            if waited >= self.room.patience_seconds:
                recording.fail(f"{self.room}, and that for {waited:.0f} seconds")


async def _finished(work: Coroutine[None, None, None]) -> None:
    """As `await work`, but cancelled only when it is done: a thread cannot be stopped, only waited for."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise

"""Takes a living recording's finished parts, in order, into the object store."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from recorder.chain import Chain, once
from recorder.errors import KeyUnavailable, ObserverFailed, RecordingFailed, StoreUnavailable
from recorder.events import Batch, Tally, gap_payload, resize_payload
from recorder.journal import DAMAGED, Part, read_part
from recorder.model import Kind, Stream
from recorder.ports import RecordingObserver
from recorder.room import Room
from recorder.syncing import GroupSync

TRANSIENT: Final = (KeyUnavailable, StoreUnavailable, ObserverFailed)
_READ_AT_ONCE: Final = 4
_PATIENCE: Final = wait_random_exponential(multiplier=0.5, max=30)
"""Each recording waits as long as chance says, at most twice as long each time: not all come back at once."""

T = TypeVar("T")


class Persistent:
    """An attempt that goes on until it works or is refused for good; the observer hears each failure."""

    def __init__(self, session_id: str, observer: RecordingObserver | None) -> None:
        self._session_id = session_id
        self._observer = observer

    async def __call__(self, action: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(retry=retry_if_exception_type(TRANSIENT), wait=_PATIENCE, before_sleep=self._tell)
        return await retrying(once, action)

    async def _tell(self, state: RetryCallState) -> None:
        if self._observer is not None and state.outcome is not None:
            with contextlib.suppress(Exception):  # the next try tells again
                await self._observer.waiting(
                    self._session_id, str(state.outcome.exception()), state.upcoming_sleep
                )


class Memory:
    """What all parts of the process may keep of their events, so that they need not be read again.

    `reading` is for parts that are: however long the store is away, few of them are in memory besides.
    """

    def __init__(self, limit: int) -> None:
        self.reading = asyncio.Semaphore(_READ_AT_ONCE)
        self._limit = limit
        self._used = 0

    def keep(self, part: Part, cost: int) -> None:
        """Count what a part added; a part that would exceed the limit is read from its file later."""
        part.kept += cost
        self._used += cost
        if self._used > self._limit:
            part.batch = None
            self.free(part)

    def free(self, part: Part) -> None:
        self._used -= part.kept
        part.kept = 0


@dataclass(frozen=True, slots=True)
class _Pending:
    """A part to upload; `ending` is said by an END that the journal could not take any more."""

    part: Part | None
    end: Tally
    ending: bytes | None


class Uploader:
    """One recording's queue. Its task runs only while there is something to do."""

    def __init__(
        self,
        chain: Chain,
        seal: AESGCM,
        sync: GroupSync,
        memory: Memory,
        room: Room,
        *,
        failed: Callable[[str], None],
    ) -> None:
        self.chain = chain
        self.spooled = 0
        """Bytes in the spool of what was added and is not stored."""
        self._seal = seal
        self._sync = sync
        self._memory = memory
        self._room = room
        self._failed = failed
        self._queue: deque[_Pending] = deque()
        self._settling: dict[Part, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._refused: Exception | None = None
        self._is_damaged = False
        """What was written is not all there to be read: the tallies after the parts are not what they were."""

    def add(self, part: Part | None, end: Tally, ending: bytes | None = None) -> None:
        """Nobody writes to `part` any more; `end` is the tally after it."""
        self._queue.append(_Pending(part, end, ending))
        if part is not None:
            self.spooled += part.size
            # At once: however long the store is away, what waits for it holds no file open.
            settling = self._settling[part] = asyncio.get_running_loop().create_task(self._settle(part))
            settling.add_done_callback(lambda _: self._settling.pop(part, None))
            if self._refused is not None:
                self._memory.free(part)
        if self._task is None and self._refused is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    @property
    def waiting(self) -> int:
        """Segments that were added and are not stored."""
        return len(self._queue)

    async def drained(self) -> None:
        """Returns when everything added is stored. Raises what refused it for good."""
        while self._task is not None and not self._task.done():  # done: abandoned before it began
            await asyncio.wait({self._task})
        if self._settling:
            await asyncio.wait(self._settling.values())
        if self._refused is not None:
            raise self._refused

    def abandon(self) -> None:
        """Stop trying; the spool keeps what is not stored."""
        self._refused = RecordingFailed("the recorder was stopped")
        if self._task is not None:
            self._task.cancel()
        for settling in self._settling.values():
            settling.cancel()
        self._free_queue()
        for pending in self._queue:
            if pending.part is not None:
                pending.part.close()

    def _free_queue(self) -> None:
        for pending in self._queue:
            if pending.part is not None:
                self._memory.free(pending.part)

    async def _drain(self) -> None:
        try:
            while self._queue:
                await self._upload(self._queue[0])
                self._queue.popleft()
        except Exception as refusal:  # noqa: BLE001 - whatever it is, it must not pass as uploaded
            self._refused = refusal
            self._free_queue()
            self._failed(f"its upload is refused: {refusal}")
        finally:
            self._task = None

    async def _upload(self, pending: _Pending) -> None:
        part = pending.part
        if part is None:
            await self._append(Batch(self.chain.tally.copy()), pending)
            return
        if (settling := self._settling.get(part)) is not None:
            await asyncio.shield(settling)
        if part.batch is not None:
            await self._append(part.batch, pending)
        else:
            await self.chain.attempt(lambda: self._read_and_append(part, pending))
        self._memory.free(part)
        with contextlib.suppress(OSError):  # it goes with its folder
            await asyncio.to_thread(part.path.unlink)  # several milliseconds for a large file
        self.spooled -= part.size
        self._room.give(part.size)

    async def _settle(self, part: Part) -> None:
        try:
            await self._sync.retire(part)
        except OSError as failure:  # memory and store may still save it
            self._failed(f"the spool cannot be made durable: {failure}")
        part.close()

    async def _append(self, batch: Batch, pending: _Pending) -> None:
        end = self._ended(batch, pending)
        await self.chain.attempt(lambda: self.chain.append(batch, end))

    async def _read_and_append(self, part: Part, pending: _Pending) -> None:
        """One try. What it reads and seals is not kept until the next one, which may be hours away."""
        async with self._memory.reading:
            batch = await asyncio.to_thread(self._read, part, pending.end)
            await self.chain.append(batch, self._ended(batch, pending))

    def _read(self, part: Part, written: Tally) -> Batch:
        batch = read_part(part.path.read_bytes(), part.number, self._seal, self.chain.tally.copy()).batch
        if (end := batch.end()) != written:
            self._is_damaged = True
            _go_on_at(batch, end, written)
        return batch

    def _ended(self, batch: Batch, pending: _Pending) -> Tally | None:
        """Says the end that the journal could not take; the tally after `batch`, where that is known."""
        if pending.ending is not None:
            batch.add(Kind.END, pending.end.last_us, pending.ending)
        elif not self._is_damaged:
            return pending.end
        batch.start = self.chain.tally.copy()
        return None


def _go_on_at(batch: Batch, end: Tally, written: Tally) -> None:
    """Says what is missing of a part that reads otherwise than it was written, so that the next one fits."""
    if end.ended is not None:  # nothing follows
        return
    for stream in Stream:
        if (lost := written.offset(stream) - end.offset(stream)) > 0:
            missing = gap_payload(stream, written.offset(stream), lost, DAMAGED)
            batch.add(Kind.GAP, end.last_us, missing)
    if (written.columns, written.rows) != (end.columns, end.rows):
        batch.add(Kind.RESIZE, end.last_us, resize_payload(written.columns, written.rows))
    if written.ended is not None:
        batch.add(Kind.END, end.last_us, written.ended.encode())

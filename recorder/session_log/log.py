"""One session's log: takes what happens without waiting, delivers it in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from recorder.ports import Clock
from recorder.session_log.lines import Dropped, Entry, Lines, Noted, Output
from recorder.session_log.ports import LogLine, LogRefused, LogSink, LogUnavailable

GATHER_SECONDS: Final = 0.5
"""How long output is gathered before it goes on its way."""
SESSION_BYTES: Final = 4 * 1024 * 1024
PROCESS_BYTES: Final = 64 * 1024 * 1024
LAST_SECONDS: Final = 60.0
"""How long what is left is tried to deliver after its session."""
_ENTRY_COST: Final = 200
_SLICE_BYTES: Final = 32 * 1024
_SLICE_SECONDS: Final = 0.002
"""What is made into lines at a time, whichever comes first; others have the loop for as long after that."""
_PIECE_BYTES: Final = 8 * 1024
"""The clock is looked at after so much: what a program prints on purpose takes ten times as long as text."""
_PAUSE_SECONDS: Final = 0.005
_BATCH_BYTES: Final = 512 * 1024
_LAST_PAUSE_SECONDS: Final = 2.0
_STOPPED: Final = "the gateway was stopped"


@dataclass(slots=True)
class Room:
    """Bytes that wait for delivery, of all sessions of the process together."""

    limit: int = PROCESS_BYTES
    used: int = 0


@dataclass(slots=True)
class _Counts:
    chunks: int = 0
    bytes: int = 0
    lines: int = 0

    def add(self, count: int) -> None:
        """One chunk of so many bytes."""
        self.chunks += 1
        self.bytes += count


@dataclass(frozen=True, slots=True)
class Loss:
    """What of a session's log never arrived: chunks and bytes that had no room, lines that were not taken."""

    chunks: int
    bytes: int
    lines: int
    reason: str


class Told(Protocol):
    """Hears how the delivery goes; none of it raises."""

    async def failing(self, reason: str) -> None:
        """The sink takes nothing now; it is tried again."""

    async def works(self) -> None:
        """It took something."""

    async def ended(self, loss: Loss | None) -> None:
        """Nothing follows. None: everything was delivered."""


Find = Callable[[], Awaitable[LogSink]]
"""Where the lines go; asked until it answers. Raises LogUnavailable, LogRefused."""


class SessionLog:
    """Belongs to one event loop. No method but `drained` waits, and none raises."""

    def __init__(
        self,
        stream: str,
        about: Mapping[str, str],
        find: Find,
        told: Told,
        *,
        clock: Clock,
        room: Room,
        session_bytes: int = SESSION_BYTES,
        gather_seconds: float = GATHER_SECONDS,
        last_seconds: float = LAST_SECONDS,
    ) -> None:
        self._stream = stream
        self._lines = Lines(about)
        self._find = find
        self._told = told
        self._clock = clock
        self._room = room
        self._session_bytes = session_bytes
        self._gather_seconds = gather_seconds
        self._last_seconds = last_seconds
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._taken = 0
        """What of that is made into lines and on its way."""
        self._dropped = _Counts()  # since the last entry that had room
        self._lost = _Counts()  # of the whole session
        self._reason = ""
        self._sink: LogSink | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._ended_at = 0.0

    def output(self, data: bytes, is_stderr: bool) -> None:
        """What the node printed."""
        size = len(data) + _ENTRY_COST
        if self._ending.is_set() or not data:
            return
        if self._size + size > self._session_bytes or self._room.used + size > self._room.limit:
            self._drop(len(data))
            return
        self._say_dropped()
        self._add(Output(self._now(), is_stderr, data), size)

    def note(self, kind: str, **more: Any) -> None:
        """Anything else that happened; always has room, so say little."""
        if not self._ending.is_set():
            self._say_dropped()
            self._add(Noted(self._now(), kind, more), _ENTRY_COST)

    def end(self, kind: str = "end", **more: Any) -> None:
        """The last line. What is left is tried to deliver for a minute; a second call does nothing."""
        if not self._ending.is_set():
            self.note(kind, **more)
            self._ended_at = asyncio.get_running_loop().time()
            self._ending.set()

    async def drained(self) -> None:
        """Returns when nothing waits any more: delivered, or given up."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    def abandon(self) -> None:
        """Stop trying: the process ends."""
        self._ending.set()
        if self._task is not None:
            self._task.cancel()

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _drop(self, count: int) -> None:
        self._dropped.add(count)
        self._lost.add(count)
        self._reason = self._reason or "it printed faster than its log was taken"

    def _say_dropped(self) -> None:
        dropped = self._dropped
        if dropped.chunks:
            self._dropped = _Counts()
            self._add(Dropped(self._now(), dropped.chunks, dropped.bytes), _ENTRY_COST)

    def _add(self, entry: Entry, size: int) -> None:
        self._entries.append(entry)
        self._size += size
        self._room.used += size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._deliver())
            self._task.add_done_callback(self._cut_short)

    async def _deliver(self) -> None:
        try:
            while self._entries:
                await self._gather()
                try:
                    await self._put(await self._next())
                finally:
                    self._free(self._taken)
                    self._taken = 0
        except Exception as fault:  # noqa: BLE001 - a log must not take its session along, whatever is in it
            self._lost.lines += 1
            self._reason = f"{type(fault).__name__}: {fault}"
        finally:
            self._let_go()
            if self._ending.is_set():
                await self._told.ended(self._loss())
            self._task = None

    def _cut_short(self, task: asyncio.Task[None]) -> None:
        """Abandoned before it began, or while it told how it ended: else it has said itself that it is over."""
        if self._task is task:
            self._let_go()
            self._task = None

    async def _gather(self) -> None:
        if self._size < _BATCH_BYTES:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gather_seconds):
                    await self._ending.wait()

    async def _next(self) -> list[LogLine]:
        """Lines of what waits, up to a batch."""
        lines: list[LogLine] = []
        try:
            await self._make(lines)
        except asyncio.CancelledError:
            self._lost.lines += len(lines)
            self._reason = self._reason or _STOPPED
            raise
        return lines

    async def _make(self, lines: list[LogLine]) -> None:
        now = asyncio.get_running_loop().time
        text = since = 0
        began = now()
        while self._entries and text < _BATCH_BYTES:
            entry = self._entries.popleft()
            self._taken += _size_of(entry)
            for piece in _pieces(entry):
                since += _size_of(piece)
                for line in self._lines.of(piece):
                    lines.append(line)
                    text += line.size
                if since >= _SLICE_BYTES or now() - began >= _SLICE_SECONDS:
                    await asyncio.sleep(max(_PAUSE_SECONDS, now() - began))
                    since, began = 0, now()

    async def _put(self, lines: list[LogLine]) -> None:
        if not lines:
            return
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(LogUnavailable),
            wait=wait_random_exponential(multiplier=0.25, max=30),
            stop=self._is_too_late,
            before_sleep=self._say_failing,
            sleep=self._pause,
            reraise=True,
        )
        rejected: int
        try:
            rejected = await retrying(self._try, lines)
        except (LogUnavailable, LogRefused) as failure:
            rejected = len(lines)
            self._reason = str(failure)
            await self._told.failing(str(failure))
        except asyncio.CancelledError:
            self._lost.lines += len(lines)
            self._reason = self._reason or _STOPPED
            raise
        else:
            await self._told.works()
        self._lost.lines += rejected
        if rejected:
            self._reason = self._reason or "lines were refused: too old, or too far in the future"

    async def _try(self, lines: list[LogLine]) -> int:
        if self._sink is None:
            self._sink = await self._find()
        return await self._sink.put(self._stream, lines)

    def _is_too_late(self, _: RetryCallState) -> bool:
        passed = asyncio.get_running_loop().time() - self._ended_at
        return self._ending.is_set() and passed >= self._last_seconds

    async def _say_failing(self, state: RetryCallState) -> None:
        if state.outcome is not None:
            await self._told.failing(str(state.outcome.exception()))

    async def _pause(self, seconds: float) -> None:
        """A session that ends has its last lines tried at once, and again soon."""
        if self._ending.is_set():
            await asyncio.sleep(min(seconds, _LAST_PAUSE_SECONDS))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    def _let_go(self) -> None:
        """What is left now is lost."""
        while self._entries:
            entry = self._entries.popleft()
            self._free(_size_of(entry))
            if isinstance(entry, Output):
                self._lost.add(len(entry.data))
            self._reason = self._reason or _STOPPED

    def _free(self, size: int) -> None:
        self._size -= size
        self._room.used -= size

    def _loss(self) -> Loss | None:
        lost = self._lost
        if not (lost.chunks or lost.lines):
            return None
        return Loss(lost.chunks, lost.bytes, lost.lines, self._reason)


def _pieces(entry: Entry) -> Iterator[Entry]:
    if not isinstance(entry, Output):
        yield entry
        return
    for start in range(0, len(entry.data), _PIECE_BYTES):
        yield replace(entry, data=entry.data[start : start + _PIECE_BYTES])


def _size_of(entry: Entry) -> int:
    return _ENTRY_COST + (len(entry.data) if isinstance(entry, Output) else 0)

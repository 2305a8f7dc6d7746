"""Rounds of fdatasync for all sessions of the process, off the event loop.

They come as seldom as may be with what was written on the disk 50 ms later: the longer the last rounds took, the
sooner the next one begins. Nobody waits for them but who asks to, so a disk that is slower than that loses more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

WITHIN_SECONDS: Final = 0.05
"""What is written is to be durable after so long, on a disk that can do that."""

_SPARE_SECONDS: Final = 0.01
_THREADS: Final = 8
"""Syncs that come together are one commit for the kernel, and each may wait for a busy event loop after it."""


class Syncable(Protocol):
    """A part file that bytes are written to. `fresh`: its folder does not durably name it yet."""

    fd: int
    path: Path
    dirty: bool
    fresh: bool


Failed = Callable[[str], None]


class Pace:
    """When the next round is to begin, by how long the last ones took."""

    def __init__(self, within: float = WITHIN_SECONDS) -> None:
        self._within = within
        self._round = 0.0

    def took(self, seconds: float) -> None:
        """A round is over. One that was slow is remembered for a while."""
        self._round = max(seconds, 0.9 * self._round)

    @property
    def patience(self) -> float:
        """Seconds from the first write (or the begin of the round under way) to the begin of the next round."""
        return max(0.0, self._within - _SPARE_SECONDS - 1.5 * self._round)


class GroupSync:
    """Collects what was written and makes it durable together. Belongs to one event loop."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._dirty: dict[Syncable, Failed] = {}
        self._in_flight: dict[Syncable, Failed] = {}
        self._retiring: set[asyncio.Future[None]] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="recorder-sync")

    def touch(self, part: Syncable, failed: Failed) -> None:
        """`part` has bytes that are not durable; `failed` hears if they cannot be made so."""
        part.dirty = True
        self._dirty[part] = failed
        if self._timer is None and self._round is None:
            self._timer = asyncio.get_running_loop().call_later(self._pace.patience, self._begin)

    async def wait(self) -> None:
        """Returns when a round over everything touched so far is done; failures went to whom they concern."""
        if self._dirty or self._round is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            if self._round is None:
                self._begin()
            await waiter
        if self._retiring:  # a part that was taken out of the round, or before it
            await asyncio.wait(tuple(self._retiring))

    async def retire(self, part: Syncable) -> None:
        """Make a part durable that nobody writes to any more, and let go of it. Raises OSError."""
        while self._round is not None and part in self._in_flight:
            await asyncio.wait({self._round})
        if self._dirty.pop(part, None) is None and not part.dirty:
            return
        syncing = asyncio.get_running_loop().run_in_executor(self._threads, _sync, part)
        self._retiring.add(syncing)
        syncing.add_done_callback(self._retiring.discard)
        await syncing

    def close(self) -> None:
        """Stop the timer and the threads; what is dirty stays for the kernel to write."""
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._round = asyncio.get_running_loop().create_task(self._sync_all())

    async def _sync_all(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        parts, self._dirty = self._dirty, {}
        self._in_flight = parts
        waiters, self._waiters = self._waiters, []
        for part in parts:
            part.dirty = False
        shares = (tuple(parts)[number::_THREADS] for number in range(min(_THREADS, len(parts))))
        for broken in await asyncio.gather(
            *(loop.run_in_executor(self._threads, _sync_each, share) for share in shares)
        ):
            for part, why in broken:
                parts[part](f"the spool cannot be made durable: {why}")
        self._pace.took(loop.time() - began)
        self._round, self._in_flight = None, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._waiters:
            self._begin()
        elif self._dirty:
            # The first of what was written meanwhile may have come just after this round began.
            self._timer = loop.call_at(began + self._pace.patience, self._begin)


def _sync_each(parts: Iterable[Syncable]) -> list[tuple[Syncable, OSError]]:
    broken = []
    for part in parts:
        try:
            _sync(part)
        except OSError as failure:
            broken.append((part, failure))
    return broken


def _sync(part: Syncable) -> None:
    if part.fd < 0:
        raise OSError("it was closed before")  # let go of while it was dirty; fdatasync would say ValueError
    os.fdatasync(part.fd)
    if part.fresh:
        sync_folder(part.path.parent)
        part.fresh = False


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

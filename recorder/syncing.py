"""One fdatasync round for all sessions of the process, at most every 50 ms, off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

INTERVAL_SECONDS: Final = 0.05


class Syncable(Protocol):
    """A part file that bytes are written to. `fresh`: its folder does not durably name it yet."""

    fd: int
    path: Path
    dirty: bool
    fresh: bool


Failed = Callable[[str], None]


class GroupSync:
    """Collects what was written and makes it durable together. Belongs to one event loop."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._dirty: dict[Syncable, Failed] = {}
        self._in_flight: dict[Syncable, Failed] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="recorder-sync")

    def touch(self, part: Syncable, failed: Failed) -> None:
        """`part` has bytes that are not durable; `failed` hears if they cannot be made so."""
        part.dirty = True
        self._dirty[part] = failed
        if self._timer is None and self._round is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._begin)

    async def wait(self) -> None:
        """Returns when a round over everything touched so far is done; failures went to whom they concern."""
        if not self._dirty and self._round is None:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._round is None:
            self._begin()
        await waiter

    async def retire(self, part: Syncable) -> None:
        """Make a part durable that nobody writes to any more, and let go of it. Raises OSError."""
        while self._round is not None and part in self._in_flight:
            await asyncio.wait({self._round})
        if self._dirty.pop(part, None) is not None or part.dirty:
            await asyncio.get_running_loop().run_in_executor(self._threads, _sync, part)

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
        parts, self._dirty = self._dirty, {}
        self._in_flight = parts
        waiters, self._waiters = self._waiters, []
        for part in parts:
            part.dirty = False
        broken = await asyncio.get_running_loop().run_in_executor(self._threads, _sync_each, tuple(parts))
        for part, why in broken:
            parts[part](f"the spool cannot be made durable: {why}")
        self._round, self._in_flight = None, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._waiters:
            self._begin()
        elif self._dirty:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._begin)


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

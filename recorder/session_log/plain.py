"""Session logs on standard output or in a file, a line a line; the stream's name is in the lines already."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from recorder.session_log.ports import LogLine, LogUnavailable


class Plain:
    """A sink over `write`, which may block: it has a thread of its own, for which no end waits.

    Who reads standard output may stop reading, and nothing else of the gateway may wait for that.
    """

    def __init__(self, write: Callable[[bytes], None], name: str) -> None:
        self.name = name
        self._write = write
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._one_at_a_time = asyncio.Lock()
        self._thread: threading.Thread | None = None

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        data = b"".join(line.text.encode() + b"\n" for line in lines)
        async with self._one_at_a_time:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="session-log", daemon=True)
                self._thread.start()
            done = asyncio.get_running_loop().create_future()
            self._jobs.put((data, done))
            try:
                await done
            except OSError as failure:
                raise LogUnavailable(f"{self.name} cannot be written: {failure.strerror}") from None
        return 0

    def _work(self) -> None:
        while True:
            data, done = self._jobs.get()
            failure: OSError | None = None
            try:
                self._write(data)
            except OSError as failed:
                failure = failed
            try:
                done.get_loop().call_soon_threadsafe(_settle, done, failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _settle(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def to_stdout() -> Plain:
    """Standard output of this process; its own log goes to standard error."""
    number = sys.stdout.fileno()

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(number, view) :]

    return Plain(write, "standard output")


def to_file(path: Path) -> Plain:
    """Opened for each batch, so that a file that was moved away by a rotation is made anew."""

    def write(data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    return Plain(write, str(path))

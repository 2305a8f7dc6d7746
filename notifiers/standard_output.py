"""Standard output of this process, which nobody may read: only whoever writes to it waits for that."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from notifiers.errors import TryAgain

PATIENCE_SECONDS: Final = 1.0
"""How long what was written before may take until what comes next is sent back."""
_ONE_AT_A_TIME = threading.Lock()  # so that the lines of several writers stay whole


def to_standard_output(data: bytes) -> None:
    """Blocks as long as nobody reads. Raises OSError."""
    # Past sys.stdout: a thread that hangs in its buffer would keep the process from ending.
    number, left = sys.stdout.fileno(), memoryview(data)
    with _ONE_AT_A_TIME:
        while left:
            left = left[os.write(number, left) :]


class Writer:
    """Writes in a thread of its own, one at a time, for which no end of the process waits.

    A thread that hangs in a write can't be cancelled: while it does, nothing else is begun, and the threads that
    the rest of the gateway works with are never among those that hang.
    """

    def __init__(self, write: Callable[[bytes], object] = to_standard_output) -> None:
        self._write = write
        self._busy: asyncio.Future[Exception | None] | None = None

    async def put(self, text: str) -> None:
        """Raises TryAgain. What was cancelled may be written later all the same."""
        while self._busy is not None and not self._busy.done():
            done, _ = await asyncio.wait((self._busy,), timeout=PATIENCE_SECONDS)
            if not done:
                raise TryAgain("nobody reads standard output: it has not taken what came before")
        busy = self._busy = asyncio.get_running_loop().create_future()
        work = threading.Thread(target=self._work, args=(text.encode(), busy), name="stdout", daemon=True)
        work.start()
        if (failure := await asyncio.shield(busy)) is not None:
            raise TryAgain(f"standard output takes nothing: {failure}")

    def _work(self, data: bytes, busy: asyncio.Future[Exception | None]) -> None:
        failure: Exception | None = None
        try:
            self._write(data)
        except (OSError, ValueError) as gone:  # nobody reads any more, or it was closed
            failure = gone
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            busy.get_loop().call_soon_threadsafe(_settle, busy, failure)


def _settle(busy: asyncio.Future[Exception | None], failure: Exception | None) -> None:
    if not busy.done():
        busy.set_result(failure)

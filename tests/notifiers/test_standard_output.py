"""Standard output that nobody reads: a pipe that is full, as of a log shipper that hangs."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from notifiers.console import Console, ConsoleSettings
from notifiers.errors import TryAgain
from notifiers.events.model import PublishedEvent
from notifiers.events.stdout import StdoutSettings, StdoutSink
from notifiers.standard_output import Writer
from tests.notifiers.told import delivery

EVENT = PublishedEvent("evt-1", "access_request.opened", datetime(2026, 11, 24, tzinfo=UTC), "oi-1", "alice asks")


class StuckPipe:
    """Takes nothing more until it is drained."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"." * 65536)
        os.set_blocking(self.writing, True)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.writing, data) :]

    async def line(self) -> bytes:
        os.set_blocking(self.reading, False)
        found = b""
        async with asyncio.timeout(30):
            while not found.endswith(b"\n"):
                with contextlib.suppress(BlockingIOError):
                    found += os.read(self.reading, 1 << 20)
                await asyncio.sleep(0.01)
        return found.lstrip(b".")

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[StuckPipe]:
    made = StuckPipe()
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["console", "stdout"])
async def test_a_pipe_that_nobody_reads_takes_one_thread_and_none_of_the_others(
    pipe: StuckPipe, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifiers.standard_output.PATIENCE_SECONDS", 0.05)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    writer = Writer(pipe.write)
    console, sink = Console(ConsoleSettings(), writer), StdoutSink(StdoutSettings(), "//here", writer)
    before = threading.active_count()

    async def tell() -> None:
        await (console.deliver(delivery()) if kind == "console" else sink.put([EVENT]))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tell(), 0.1)
    for _ in range(9):
        with pytest.raises(TryAgain, match="nobody reads"):
            await tell()
    with pytest.raises(TryAgain, match="nobody reads"):
        await (console if kind == "console" else sink).check()
    assert threading.active_count() <= before + 1
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(asyncio.to_thread(int, str(number)) for number in range(4))) == [0, 1, 2, 3]
    assert b"oi-" in await pipe.line()
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(TryAgain):  # it may take a moment to note that it is free
                await tell()
                break
    assert b"oi-" in await pipe.line()


def test_a_process_ends_though_nobody_reads_what_it_prints(pipe: StuckPipe) -> None:
    """Nor does it die of it, as it would with a thread that hangs in the buffer of sys.stdout."""
    code = (
        "import asyncio, contextlib\n"
        "from notifiers.standard_output import Writer\n"
        "async def main():\n"
        "    with contextlib.suppress(TimeoutError):\n"
        "        await asyncio.wait_for(Writer().put('x'), 0.2)\n"
        "asyncio.run(main())\n"
        "import sys; sys.stderr.write('over')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=pipe.writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"over")


async def test_a_pipe_whose_reader_went_is_told() -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError("nobody is there")

    with pytest.raises(TryAgain, match="takes nothing: nobody is there"):
        await Writer(broken).put("x")

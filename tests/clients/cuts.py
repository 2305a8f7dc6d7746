"""A bad network before the stand-in: connections that break after some bytes, or fall silent."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class BadNetwork:
    """Passes bytes on to `port`; cuts each connection where `random` says, in the middle of anything."""

    def __init__(self, port: int, seed: int, mean: int, whole: int) -> None:
        """`mean` bytes pass before a cut; the first connection of all is left alone for `whole` bytes."""
        self.cuts = 0
        self.address = ""
        self._port = port
        self._random = random.Random(seed)
        self._mean = mean
        self._whole = whole
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        """From now on nothing passes on the connections that there are; nobody is told."""

        def pause() -> None:
            for writer in self._writers:
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it

        self._loop.call_soon_threadsafe(pause)

    def break_all(self) -> None:
        """Resets the connections that there are."""

        def cut() -> None:
            for writer in list(self._writers):
                _reset(writer)

        self._loop.call_soon_threadsafe(cut)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"localhost:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # one turn for the callbacks of closed transports

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)  # at once: whoever stops meanwhile puts it away
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        budget = [self._whole + int(self._random.expovariate(1 / self._mean)) if self._mean else 1 << 60]
        self._whole = 0
        pair = (writer, there[1])
        self._writers.update(pair)
        ways = [self._pass(reader, there[1], budget), self._pass(there[0], writer, budget)]
        tasks = [asyncio.create_task(way) for way in ways]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._tasks.difference_update(tasks)
        gently = self._random.random() < 0.3
        for end in pair:
            self._writers.discard(end)
            if gently:
                end.close()
            else:
                _reset(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: list[int]) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                part = data[: budget[0]]
                budget[0] -= len(part)
                writer.write(part)
                await writer.drain()
                if not budget[0]:
                    self.cuts += 1
                    return


@contextmanager
def bad_network(address: str, seed: int = 0, mean: int = 0, whole: int = 12_000) -> Iterator[BadNetwork]:
    """Before `address`; `mean` 0 never cuts by itself."""
    network = BadNetwork(int(address.rpartition(":")[2]), seed, mean, whole)
    thread = threading.Thread(target=network._loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(network.start(), network._loop).result(10)
    try:
        yield network
    finally:
        asyncio.run_coroutine_threadsafe(network.stop(), network._loop).result(10)
        network._loop.call_soon_threadsafe(network._loop.stop)
        thread.join(10)
        network._loop.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """As a middlebox does that has forgotten the connection."""
    plain = writer.get_extra_info("socket")
    with suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

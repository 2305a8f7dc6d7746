"""The network in between: TCP proxies whose connections can be cut in several ways, in a thread of their own."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

_AT_ONCE = 1 << 16
_ABORT = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing is a reset, and what was not sent yet is gone."""


class Link:
    """A port that leads to `target` once that is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.port = 0
        self.target = ""
        self._loop = loop
        self._connections: set[_Connection] = set()
        self._is_dark = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def reset(self, share: float, random: Random) -> int:
        """Resets connections, each with that probability; how many."""
        return self._do(self._reset(share, random))

    def stall(self, seconds: float) -> None:
        """Nothing passes for a while, then all goes on as if nothing had been."""
        self._do(self._stall(seconds))

    def darken(self, seconds: float) -> None:
        """Nothing passes and nobody new gets through for a while; then every connection is reset."""
        self._do(self._darken(seconds))

    def silence(self) -> None:
        """Nothing passes through the present connections any more, and nobody is told; new ones are well."""
        self._do(self._silence())

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.reset()

    async def _reset(self, share: float, random: Random) -> int:
        hit = [connection for connection in self._connections if random.random() < share]
        for connection in hit:
            connection.reset()
        return len(hit)

    async def _stall(self, seconds: float) -> None:
        stalled = list(self._connections)
        for connection in stalled:
            connection.gate.clear()
        await asyncio.sleep(seconds)
        for connection in stalled:
            connection.gate.set()

    async def _silence(self) -> None:
        for connection in self._connections:
            connection.gate.clear()

    async def _darken(self, seconds: float) -> None:
        self._is_dark = True
        for connection in self._connections:
            connection.gate.clear()
        await asyncio.sleep(seconds)
        self._is_dark = False
        for connection in list(self._connections):
            connection.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            if self._is_dark:
                connection.gate.clear()
            await connection.carry(reader, self.target)
        except* OSError:
            connection.reset()  # nobody listens there, or it was cut
        finally:
            self._connections.discard(connection)


class _Connection:
    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self._writers = [client]

    async def carry(self, from_client: asyncio.StreamReader, target: str) -> None:
        """To its end. Raises OSError."""
        await self.gate.wait()
        host, _, port = target.rpartition(":")
        from_server, to_server = await asyncio.open_connection(host, int(port))
        self._writers.append(to_server)
        both = ((from_client, to_server), (from_server, self._writers[0]))
        async with asyncio.TaskGroup() as ways:
            for source, sink in both:
                ways.create_task(self._pass_on(source, sink))
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()

    def reset(self) -> None:
        self.gate.set()
        for writer in self._writers:
            if (end := writer.get_extra_info("socket")) is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_AT_ONCE):
            await self.gate.wait()
            sink.write(data)
            await sink.drain()
        await self.gate.wait()
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()


class Network:
    """Links between clients and gateway, and between agent and gateway, until the block ends."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.clients, self.agent = Link(self._loop), Link(self._loop)
        for link in (self.clients, self.agent):
            asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in (self.clients, self.agent):
            asyncio.run_coroutine_threadsafe(link.close(), self._loop).result()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        await asyncio.sleep(0)  # for what is closed in the loop's next round

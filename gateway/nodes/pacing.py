"""Reading from a node without keeping everybody else waiting.

asyncssh works off whatever one read of the socket brings in one go, up to 256 KiB. A program on the node that
prints a few bytes at a time makes that thousands of packets, and each costs tens of microseconds, more the more of
them wait: seconds in which the gateway answers nobody and ends no session. So what arrives is handed on in slices
that take about two milliseconds each, and between two of them the loop turns to everybody else.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

SLICE_SECONDS: Final = 0.002
SMALLEST_SLICE: Final = 1024
FIRST_SLICE: Final = 16 * 1024
LARGEST_SLICE: Final = 256 * 1024
"""As much as one read of a socket brings: bulk output, in packets of 32 KiB, is soon not cut at all."""


class PacedReading(asyncio.Protocol):
    """Stands between a transport and the protocol that it was made for."""

    def __init__(
        self,
        transport: asyncio.Transport,
        reader: asyncio.Protocol,
        steady: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._transport = transport
        self._reader = reader
        self._steady = steady
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._slice = FIRST_SLICE
        self._scheduled = self._paused = False

    def data_received(self, data: bytes) -> None:
        self._waiting.append(data)
        if not self._scheduled:
            self._read_on()

    def eof_received(self) -> bool | None:
        self._read_all()
        return self._reader.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_all()
        self._reader.connection_lost(exc)

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()

    def _read_on(self) -> None:
        self._scheduled = False
        data = b"".join(self._waiting)
        taken = data[: self._slice]
        self._waiting = [data[len(taken) :]] if len(taken) < len(data) else []
        began = self._steady()
        if taken:
            self._reader.data_received(taken)
        self._adapt(self._steady() - began)
        if self._waiting:
            # Nothing more is read from the socket meanwhile: the node waits, not our memory.
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
            self._scheduled = True
            self._loop.call_soon(self._read_on)
        elif self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _adapt(self, took: float) -> None:
        if took > SLICE_SECONDS:
            self._slice = max(SMALLEST_SLICE, self._slice // 2)
        elif took < SLICE_SECONDS / 4:
            self._slice = min(LARGEST_SLICE, self._slice * 2)

    def _read_all(self) -> None:
        """The transport is at its end: at most one read of it waits, and nothing of it may be lost."""
        data, self._waiting = b"".join(self._waiting), []
        if data:
            self._reader.data_received(data)


def pace(connection: asyncio.Protocol) -> None:
    """Paces what a protocol with a transport, an asyncssh connection, reads from now on."""
    # asyncssh has no way to ask for its transport.
    transport = cast(asyncio.Transport | None, getattr(connection, "_transport", None))
    if transport is not None:
        transport.set_protocol(PacedReading(transport, connection))

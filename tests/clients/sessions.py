"""The session service of the stand-in: real processes, and strictness about offsets and credit."""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from jitgate.v1 import session_pb2 as pb

MAXIMUM_FRAME = 256 << 10
INPUT_CREDIT = 512 << 10


class Session:
    """One Connect call. Ends it with INVALID_ARGUMENT when the client breaks the rules of session.proto."""

    def __init__(
        self, frames: AsyncIterator[pb.SessionFrame], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> None:
        self._frames = frames
        self._context = context
        self._credit = 0
        self._granted = INPUT_CREDIT
        self._sent = 0
        self._received = 0
        self._more_credit = asyncio.Event()
        self._writing = asyncio.Lock()
        self._process: asyncio.subprocess.Process
        self._terminal: int | None = None
        self._reading: asyncio.BaseTransport | None = None
        self.received_frames: list[pb.SessionFrame] = []

    async def run(self, opening: pb.OpenSession, opened: pb.SessionOpened) -> None:
        self._credit = opening.credit
        opened.credit = INPUT_CREDIT
        await self._write(pb.SessionFrame(opened=opened))
        readers = await self._start(opening)
        reading = asyncio.create_task(self._read())
        outputs = asyncio.ensure_future(self._pump_all(readers))
        try:
            await asyncio.wait([reading, outputs], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading  # raises what the client did wrong; done otherwise: it has nothing more to say
            await outputs
            code = await self._process.wait()
            await self._write(pb.SessionFrame(exit=_exit(code)))
        finally:
            reading.cancel()
            outputs.cancel()
            self._clean_up()

    def _clean_up(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process._transport.close()  # type: ignore[attr-defined]  # there is no public way to let go of its pipes
        if self._reading is not None:
            self._reading.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    async def reaped(self) -> None:
        """Waits until the process that was started, if any, is no more."""
        if hasattr(self, "_process"):
            await self._process.wait()

    async def _start(self, opening: pb.OpenSession) -> list[tuple[asyncio.StreamReader, int]]:
        command = ["sh", "-c", opening.command] if opening.command else ["sh", "-i"]
        if not opening.HasField("terminal"):
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 20, start_new_session=True
            )
            assert self._process.stdout
            assert self._process.stderr
            return [
                (self._process.stdout, pb.SESSION_STREAM_MAIN),
                (self._process.stderr, pb.SESSION_STREAM_STDERR),
            ]
        self._terminal, remote = os.openpty()
        self._resize(opening.terminal.columns, opening.terminal.rows)
        self._process = await asyncio.create_subprocess_exec(
            "setsid", "-c", *command, stdin=remote, stdout=remote, stderr=remote,
            env={**os.environ, "TERM": opening.terminal.term, "PS1": "$ "},
        )  # fmt: skip
        os.close(remote)
        reader = asyncio.StreamReader(limit=1 << 20)
        pipe_file = os.fdopen(os.dup(self._terminal), "rb", 0)
        loop = asyncio.get_running_loop()
        self._reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe_file)
        return [(reader, pb.SESSION_STREAM_MAIN)]

    async def _pump_all(self, readers: list[tuple[asyncio.StreamReader, int]]) -> None:
        await asyncio.gather(*(self._pump(reader, stream) for reader, stream in readers))

    async def _pump(self, reader: asyncio.StreamReader, stream: Any) -> None:
        while True:
            try:
                chunk = await reader.read(MAXIMUM_FRAME)
            except OSError:
                return  # how Linux says that a terminal has been left by everybody
            if not chunk:
                return
            while chunk:
                while not self._credit:
                    self._more_credit.clear()
                    await self._more_credit.wait()
                part, chunk = chunk[: self._credit], chunk[self._credit :]
                self._credit -= len(part)
                offset, self._sent = self._sent, self._sent + len(part)
                await self._write(pb.SessionFrame(data=pb.SessionData(offset=offset, payload=part, stream=stream)))

    async def _read(self) -> None:
        async for frame in self._frames:
            self.received_frames.append(frame)
            kind = frame.WhichOneof("frame")
            if kind == "data":
                await self._input(frame.data)
            elif kind == "window":
                self._credit += frame.window.credit
                self._more_credit.set()
            elif kind == "resize":
                self._resize(frame.resize.columns, frame.resize.rows)
            elif kind == "signal":
                with suppress(ProcessLookupError):
                    self._process.send_signal(getattr(signal, f"SIG{frame.signal.name}"))
            elif kind == "eof" and self._process.stdin:
                self._process.stdin.close()

    async def _input(self, data: pb.SessionData) -> None:
        size = len(data.payload)
        if data.offset != self._received or size > min(self._granted, MAXIMUM_FRAME):
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"frame at {data.offset} of {size} bytes")
        self._received += size
        self._granted -= size
        if self._terminal is not None:
            os.write(self._terminal, data.payload)
        elif self._process.stdin:
            with suppress(ConnectionError):
                self._process.stdin.write(data.payload)
                await self._process.stdin.drain()
        self._granted += size
        await self._write(pb.SessionFrame(window=pb.SessionWindow(credit=size)))

    def _resize(self, columns: int, rows: int) -> None:
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def _write(self, frame: pb.SessionFrame) -> None:
        async with self._writing:  # gRPC takes one at a time
            await self._context.write(frame)


def _exit(code: int) -> pb.SessionExit:
    if code < 0:
        return pb.SessionExit(end=pb.SESSION_END_EXITED, signal=signal.Signals(-code).name.removeprefix("SIG"))
    return pb.SessionExit(end=pb.SESSION_END_EXITED, status=code)

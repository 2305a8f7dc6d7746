"""The session service of the stand-in: real processes that may outlive their call, and strictness about frames."""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from jitgate.v1 import session_pb2 as pb
from tests.clients.refusal import Refusal

MAXIMUM_FRAME = 256 << 10
INPUT_CREDIT = 512 << 10
KEPT_OUTPUT = 2 << 20
HANGUP_SECONDS = 5.0

Frames = AsyncIterator[pb.SessionFrame]
Context = grpc.aio.ServicerContext


class Call:
    """One Connect call that carries the session: where it is in the output, and what each side may send."""

    def __init__(self, context: "Context[Any, Any]", offset: int, credit: int, input_credit: int) -> None:
        self.context = context
        self.cursor = offset  # of the output
        self.acknowledged = offset
        self.credit = credit
        self.input_credit = input_credit
        self.hung_up = asyncio.Event()
        self.replaced = asyncio.Event()
        self._writing = asyncio.Lock()

    async def write(self, frame: pb.SessionFrame) -> None:
        async with self._writing:  # gRPC takes one at a time
            await self.context.write(frame)

    async def refuse(self, what: str) -> None:
        await self.context.abort(grpc.StatusCode.INVALID_ARGUMENT, what)


class Session:
    """A process with its output that is not acknowledged yet; at most one call carries it."""

    def __init__(self, opened: pb.SessionOpened) -> None:
        self.opened = opened
        self.received_frames: list[pb.SessionFrame] = []
        self.is_over = False
        self.frame_size = MAXIMUM_FRAME if not opened.grace_seconds else 16 << 10
        self.calls = 0
        self._call: Call | None = None
        self._kept: deque[tuple[int, int, bytes]] = deque()  # offset, stream, payload
        self._oldest = self._newest = 0
        self._outputs_end = False
        self._input = bytearray()
        self._received = 0
        self._input_ended = False
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process
        self._terminal: int | None = None
        self._reading: asyncio.BaseTransport | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, opening: pb.OpenSession, frames: Frames, context: "Context[Any, Any]") -> None:
        readers = await self._start(opening)
        self._tasks = [asyncio.create_task(self._pump_all(readers)), asyncio.create_task(self._feed())]
        if not opening.resumable:
            self.opened.grace_seconds = 0
        await self._serve(frames, Call(context, 0, opening.credit, INPUT_CREDIT))

    async def resume(self, wanted: pb.ResumeSession, frames: Frames, context: "Context[Any, Any]") -> None:
        offset = wanted.received if wanted.HasField("received") else self._oldest
        if not self._oldest <= offset <= self._newest:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION, "OUTPUT_GONE", f"{self._oldest} to {self._newest} are kept"
            )
        if self._call is not None:
            self._call.replaced.set()
        self._forget(offset)
        self._resize(wanted.terminal.columns, wanted.terminal.rows)
        await self._serve(frames, Call(context, offset, wanted.credit, INPUT_CREDIT - len(self._input)))

    async def _serve(self, frames: Frames, call: Call) -> None:
        self._call = call
        self.calls += 1
        opened = pb.SessionOpened()
        opened.CopyFrom(self.opened)
        opened.credit, opened.output_offset, opened.input_offset = call.input_credit, call.cursor, self._received
        opened.input_ended = self._input_ended
        jobs = [
            asyncio.create_task(self._read(frames, call)),
            asyncio.create_task(call.replaced.wait()),
        ]
        try:
            await call.write(pb.SessionFrame(opened=opened))
            sending = asyncio.create_task(self._send(call))
            jobs.append(sending)
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if call.replaced.is_set():
                await call.context.abort(grpc.StatusCode.ABORTED, "another terminal goes on with the session")
            if jobs[0].done():
                await jobs[0]  # raises what the client did wrong
            if sending.done() and self.opened.grace_seconds:
                with suppress(TimeoutError):
                    await asyncio.wait_for(call.hung_up.wait(), HANGUP_SECONDS)
        finally:
            for job in jobs:
                job.cancel()
            if self._call is call:
                self._call = None
                if call.hung_up.is_set() or not self.opened.grace_seconds:
                    self.end()

    def end(self) -> None:
        """Kills what still runs, and forgets the session."""
        self.is_over = True
        for task in self._tasks:
            task.cancel()
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
            if not self.is_over:
                self.end()
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
        os.set_blocking(self._terminal, False)
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

    # Output

    async def _pump_all(self, readers: list[tuple[asyncio.StreamReader, int]]) -> None:
        await asyncio.gather(*(self._pump(reader, stream) for reader, stream in readers))
        self._outputs_end = True
        self._wake()

    async def _pump(self, reader: asyncio.StreamReader, stream: int) -> None:
        while True:
            while self.opened.grace_seconds and self._newest - self._oldest >= KEPT_OUTPUT:
                await self._woken()
            try:
                chunk = await reader.read(MAXIMUM_FRAME)
            except OSError:
                return  # how Linux says that a terminal has been left by everybody
            if not chunk:
                return
            self._kept.append((self._newest, stream, chunk))
            self._newest += len(chunk)
            self._wake()

    async def _send(self, call: Call) -> None:
        """Until the exit is sent."""
        while call.cursor < self._newest or not self._outputs_end:
            if call.cursor == self._newest or not call.credit:
                await self._woken()
                continue
            offset, stream, chunk = next(item for item in self._kept if call.cursor < item[0] + len(item[2]))
            part = chunk[call.cursor - offset :][: min(call.credit, self.frame_size)]
            data = pb.SessionData(offset=call.cursor, payload=part, stream=stream)  # type: ignore[arg-type]  # enums are numbers
            call.cursor += len(part)
            call.credit -= len(part)
            if not self.opened.grace_seconds:
                self._forget(call.cursor)
            await call.write(pb.SessionFrame(data=data))
        await call.write(pb.SessionFrame(exit=_exit(await self._process.wait())))

    def _forget(self, offset: int) -> None:
        self._oldest = offset
        while self._kept and self._kept[0][0] + len(self._kept[0][2]) <= offset:
            self._kept.popleft()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _woken(self) -> None:
        await self._changed.wait()

    # Input

    async def _read(self, frames: Frames, call: Call) -> None:
        async for frame in frames:
            self.received_frames.append(frame)
            kind = frame.WhichOneof("frame")
            if kind == "data":
                await self._take_input(frame.data, call)
            elif kind == "window":
                call.credit += frame.window.credit
                call.acknowledged += frame.window.credit
                if self.opened.grace_seconds:
                    if call.acknowledged > call.cursor:
                        await call.refuse(f"acknowledges {call.acknowledged} of {call.cursor} bytes")
                    self._forget(call.acknowledged)
                self._wake()
            elif kind == "resize":
                self._resize(frame.resize.columns, frame.resize.rows)
            elif kind == "signal":
                with suppress(ProcessLookupError):
                    self._process.send_signal(getattr(signal, f"SIG{frame.signal.name}"))
            elif kind == "eof":
                self._input_ended = True
                self._wake()
            elif kind == "hangup":
                call.hung_up.set()
                return
            else:
                await call.refuse(f"{kind} has no place here")
        await asyncio.Event().wait()  # a half-closed call goes on: its end is told by cancellation

    async def _take_input(self, data: pb.SessionData, call: Call) -> None:
        size = len(data.payload)
        if data.offset != self._received or size > min(call.input_credit, MAXIMUM_FRAME) or self._input_ended:
            await call.refuse(f"frame at {data.offset} of {size} bytes; {self._received} came before")
        self._received += size
        call.input_credit -= size
        self._input += data.payload
        self._wake()

    async def _feed(self) -> None:
        """Writes input to the process as it takes it, and grants as much again."""
        while True:
            if not self._input:
                if self._input_ended and self._process.stdin:
                    self._process.stdin.close()
                    return
                await self._woken()
                continue
            size = await self._write_input(bytes(self._input[:MAXIMUM_FRAME]))
            del self._input[:size]
            if self._call is not None and not self._call.replaced.is_set():
                self._call.input_credit += size
                with suppress(Exception):  # whoever reads notices that the call is gone
                    await self._call.write(pb.SessionFrame(window=pb.SessionWindow(credit=size)))

    async def _write_input(self, data: bytes) -> int:
        if self._terminal is None:
            assert self._process.stdin
            with suppress(ConnectionError):
                self._process.stdin.write(data)
                await self._process.stdin.drain()
            return len(data)
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.write(self._terminal, data)
            except BlockingIOError:
                writable = asyncio.Event()
                loop.add_writer(self._terminal, writable.set)
                try:
                    await writable.wait()
                finally:
                    loop.remove_writer(self._terminal)

    def _resize(self, columns: int, rows: int) -> None:
        if self._terminal is not None and columns:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _exit(code: int) -> pb.SessionExit:
    if code < 0:
        return pb.SessionExit(end=pb.SESSION_END_EXITED, signal=signal.Signals(-code).name.removeprefix("SIG"))
    return pb.SessionExit(end=pb.SESSION_END_EXITED, status=code)

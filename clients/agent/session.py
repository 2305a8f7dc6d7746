"""One session on this node: the gateway's frames in, the process's output out."""

import asyncio
import os
import signal
from collections import deque
from dataclasses import replace
from typing import TypeAlias

import grpc.aio

from clients.agent.cgroups import SessionGroups
from clients.agent.flow import INPUT_WINDOW, BrokenFrames, Budget, Input, Output
from clients.agent.log import log
from clients.agent.process import NotStarted, Plan, Process
from jitgate.v1.agent_pb2 import (
    NodeExit,
    NodeFrame,
    ServeSession,
    SessionNotStarted,
    SessionOrder,
    SessionRunning,
)
from jitgate.v1.session_pb2 import (
    SESSION_STREAM_MAIN,
    SESSION_STREAM_STDERR,
    SessionData,
    SessionWindow,
)

COALESCE_SECONDS = 0.001
"""Output that follows a frame within this time goes into the next one together."""
_SMALL = 32 * 1024
_STARTS_WITHIN_SECONDS = 60.0
_LINGER_SECONDS = 0.5
_FAREWELL_SECONDS = 5.0
_MAX_SIDE = 10_000
_SIGNALS = frozenset({"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM", "PIPE"})

Call: TypeAlias = "grpc.aio.StreamStreamCall[NodeFrame, NodeFrame]"  # generic in the stubs only


class Session:
    """Serves one order. Used once; however `serve` ends, nothing of the session is left on the node."""

    def __init__(self, plan: Plan, budget: Budget, groups: SessionGroups) -> None:
        self._plan = plan
        self._groups = groups
        self._input = Input()
        self._output = Output(budget)
        self._control: deque[NodeFrame] = deque()
        self._process: Process | None = None
        self._wake = asyncio.Event()
        self._reading_output: set[int] = set()
        self._writes_later = False
        self._lingered = False
        self._is_over = False

    async def serve(self, call: Call, order: SessionOrder) -> None:
        """Returns when the session is over."""
        reading: asyncio.Task[None] | None = None
        try:
            serve = ServeSession(session_id=order.session_id, nonce=order.nonce)
            await call.write(NodeFrame(serve=serve))
            async with asyncio.timeout(_STARTS_WITHIN_SECONDS):
                first = await call.read()
            if not isinstance(first, NodeFrame) or first.WhichOneof("frame") != "start":
                return  # the access ended before the session began
            if not await self._start(first.start.credit):
                await self._write(call)
                return
            reading = asyncio.create_task(self._read(call))
            await self._write(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as gone:
            log("session_lost", session=order.session_id, reason=_reason(gone))
        except BrokenFrames as broken:
            log("session_broken", session=order.session_id, reason=str(broken))
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
            if self._process is not None:
                await self._process.close()
            self._output.drop()

    async def _start(self, credit: int) -> bool:
        self._output.grant(credit)
        plan = replace(self._plan, cgroup=self._groups.make(self._plan.session_id))
        try:
            self._process = process = await Process.start(plan)
        except (NotStarted, OSError) as error:
            self._groups.remove(plan.cgroup)
            self._control.append(NodeFrame(not_started=SessionNotStarted(message=str(error)[:500])))
            self._is_over = True
            return False
        process.changed = self._ended
        self._control.append(NodeFrame(running=SessionRunning(credit=INPUT_WINDOW)))
        self._watch_output()
        return True

    # -- from the gateway ---------------------------------------------------------------------------------------

    async def _read(self, call: Call) -> None:
        try:
            while isinstance(frame := await call.read(), NodeFrame):  # what else comes is the end
                self._received(frame)
        except (grpc.aio.AioRpcError, BrokenFrames) as gone:
            log("session_cut", session=self._plan.session_id, reason=_reason(gone))
        finally:
            self._is_over = True
            self._output.drop()
            self._control.clear()
            self._wake.set()

    def _received(self, frame: NodeFrame) -> None:
        """Raises BrokenFrames."""
        assert self._process is not None
        which = frame.WhichOneof("frame")
        if which == "data":
            self._input.add(frame.data.offset, frame.data.payload)
            self._feed()
        elif which == "window":
            self._output.grant(frame.window.credit)
            self._wake.set()
        elif which == "resize":
            if not (0 < frame.resize.columns <= _MAX_SIDE and 0 < frame.resize.rows <= _MAX_SIDE):
                raise BrokenFrames("a terminal of an impossible size")
            self._process.resize(frame.resize.columns, frame.resize.rows)
        elif which == "signal":
            if frame.signal.name not in _SIGNALS:
                raise BrokenFrames("an unknown signal")
            self._process.signal(frame.signal.name)
        elif which == "eof":
            self._input.ended = True
            self._feed()
        else:
            raise BrokenFrames(f"a frame that the gateway does not send: {which}")

    def _feed(self) -> None:
        """Gives the process what it takes of its input."""
        process = self._process
        assert process is not None
        while (data := self._input.peek()) is not None:
            taken = process.write(data)
            if taken:
                self._input.took(taken)
            if taken < len(data) and process.input >= 0:
                break
        if granted := self._input.regrant():
            self._control.append(NodeFrame(window=SessionWindow(credit=granted)))
            self._wake.set()
        waits = self._input.peek() is not None and process.input >= 0
        if waits != self._writes_later:
            self._writes_later = waits
            loop = asyncio.get_running_loop()
            if waits:
                loop.add_writer(process.input, self._feed)
            elif process.input >= 0:
                loop.remove_writer(process.input)
        if not waits and self._input.ended:
            process.end_input()

    # -- from the process ---------------------------------------------------------------------------------------

    def _watch_output(self) -> None:
        """Reads from the process where there is room for what it says, and not where there is none."""
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        for descriptor in {process.output, process.errors} - {-1}:
            watched = descriptor in self._reading_output
            if self._output.is_full and watched:
                self._reading_output.discard(descriptor)
                loop.remove_reader(descriptor)
            elif not self._output.is_full and not watched:
                self._reading_output.add(descriptor)
                loop.add_reader(descriptor, self._readable, descriptor)

    def _readable(self, descriptor: int) -> None:
        process = self._process
        assert process is not None
        chunk = process.read(descriptor)
        if chunk is None:
            self._reading_output.discard(descriptor)
            process.finish(descriptor)
        elif chunk:
            stream = SESSION_STREAM_STDERR if descriptor == process.errors else SESSION_STREAM_MAIN
            self._output.add(stream, chunk)
            self._watch_output()
        self._wake.set()

    def _ended(self) -> None:
        """Everything is dead. What it said is still read; nobody waits for one who holds the other end open."""
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._linger)
        self._wake.set()

    def _linger(self) -> None:
        self._lingered = True
        self._wake.set()

    # -- to the gateway -----------------------------------------------------------------------------------------

    async def _write(self, call: Call) -> None:
        while True:
            if self._control:
                await call.write(self._control.popleft())
            elif (taken := self._output.take()) is not None:
                self._watch_output()
                offset, stream, payload = taken
                data = SessionData(offset=offset, payload=payload, stream=stream)
                await call.write(NodeFrame(data=data))
                if len(payload) < _SMALL and self._output.size < _SMALL:
                    await asyncio.sleep(COALESCE_SECONDS)
            elif self._is_over:
                break
            elif (end := self._end()) is not None:
                self._control.append(NodeFrame(exit=end))
                self._is_over = True
            else:
                self._wake.clear()
                await self._wake.wait()
        # Cancelling now would lose the tail of what was written: the gateway ends the call once it has all.
        await call.done_writing()
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await call.code()

    def _end(self) -> NodeExit | None:
        """How it ended, once all that it said is on its way."""
        process = self._process
        if process is None or process.status is None or self._output.size:
            return None
        for descriptor in {process.output, process.errors} - {-1}:
            if not self._lingered:
                return None
            self._readable(descriptor)
        if self._output.size:
            return None
        if os.WIFSIGNALED(process.status):
            return NodeExit(signal=signal.Signals(os.WTERMSIG(process.status)).name.removeprefix("SIG"))
        return NodeExit(status=os.WEXITSTATUS(process.status))


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__

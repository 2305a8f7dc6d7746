"""One Serve call that carries a session: its frames in, the session's frames out."""

import asyncio
from collections import deque
from typing import Protocol, TypeAlias

import grpc
import grpc.aio

from clients.agent.flow import BrokenFrames, Output
from clients.agent.log import log
from jitgate.v1.agent_pb2 import NodeExit, NodeFrame
from jitgate.v1.session_pb2 import SessionData

COALESCE_SECONDS = 0.001
"""Output that follows a frame within this time goes into the next one together."""
_SMALL = 32 * 1024
_SMALL_AT_ONCE = 4
"""So many small frames go out within that time at most, however many wait: a gateway takes 5,000 a second."""
_FAREWELL_SECONDS = 5.0

Call: TypeAlias = "grpc.aio.StreamStreamCall[NodeFrame, NodeFrame]"  # generic in the stubs only


class Carried(Protocol):
    """The session, as its call sees it."""

    output: Output

    def received(self, frame: NodeFrame) -> None:
        """Raises BrokenFrames."""

    def watch_output(self) -> None:
        """There may be room for more."""

    def exit(self) -> NodeExit | None:
        """How it ended, once all that it said is on its way."""


class Carrier:
    """Used once, from the moment when both sides know where to go on."""

    def __init__(self, call: Call, session: Carried, session_id: str) -> None:
        self.wake = asyncio.Event()
        """Set when there is something to send."""
        self._call = call
        self._session = session
        self._session_id = session_id
        self._control: deque[NodeFrame] = deque()
        self._is_over = False
        self._has_ended = False

    def say(self, frame: NodeFrame, *, is_last: bool = False) -> None:
        self._control.append(frame)
        self._has_ended = self._has_ended or is_last
        self.wake.set()

    async def run(self) -> bool:
        """Returns when the call is over: whether the last frame was sent, and the gateway then ended it with OK.

        Raises AioRpcError, InvalidStateError, TimeoutError.
        """
        reading = asyncio.create_task(self._read())
        try:
            await self._write()
            # Cancelling now would lose the tail of what was written: the gateway ends the call once it has all.
            await self._call.done_writing()
            # Who can come back for what is missing may take the time for it.
            async with asyncio.timeout(None if self._session.output.is_kept else _FAREWELL_SECONDS):
                code = await self._call.code()
        finally:
            reading.cancel()
        return self._has_ended and code is grpc.StatusCode.OK

    async def _read(self) -> None:
        try:
            while isinstance(frame := await self._call.read(), NodeFrame):  # what else comes is the end
                self._session.received(frame)
        except (grpc.aio.AioRpcError, BrokenFrames) as gone:
            log("session_cut", session=self._session_id, reason=reason(gone))
            self._call.cancel()
        finally:
            self._is_over = True
            self.wake.set()

    async def _write(self) -> None:
        output = self._session.output
        small = 0
        while not self._is_over:
            if self._control:
                await self._call.write(self._control.popleft())
            elif self._has_ended:
                break
            elif (taken := output.take()) is not None:
                self._session.watch_output()
                offset, stream, payload = taken
                data = SessionData(offset=offset, payload=payload, stream=stream)
                await self._call.write(NodeFrame(data=data))
                small = small + 1 if len(payload) < _SMALL else 0
                if small and (output.waiting < _SMALL or small % _SMALL_AT_ONCE == 0):
                    await asyncio.sleep(COALESCE_SECONDS)
            elif (end := self._session.exit()) is not None:
                self.say(NodeFrame(exit=end), is_last=True)
            else:
                self.wake.clear()
                await self.wake.wait()


def reason(error: BaseException) -> str:
    """Of an end of a call, for the log."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__

"""Moves the frames of one session between its client and its relay."""

import asyncio
import contextlib
from typing import Final

from gateway.errors import Refused
from gateway.sessions.frames import FrameSink, FrameSource
from gateway.sessions.relay import COALESCE_SECONDS, Relay
from recorder.errors import RecordingFailed

FAREWELL_SECONDS: Final = 0.4
"""How long a client may take to read why its session was ended, before the call is cut off."""

HANGUP_SECONDS: Final = 5.0
"""How long a client may take to say that it has read how its session ended."""


class Pump:
    """Two loops, one a direction; neither waits for the other. Used once."""

    __slots__ = (
        "_cut_off",
        "_dismissed",
        "_draining",
        "_farewell",
        "_relay",
        "_sink",
        "_source",
        "_task",
        "_waiter",
    )

    def __init__(self, relay: Relay, source: FrameSource, sink: FrameSink) -> None:
        self._relay = relay
        self._source = source
        self._sink = sink
        self._waiter: asyncio.Future[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cut_off = False
        self._dismissed: Refused | None = None

    async def run(self) -> None:
        """Returns when the session is over and the client was told, or cannot be; `relay.ending` says how.

        A relay that goes on without its client is not attended, then.

        Raises Refused BROKEN_FRAMES when the client did not keep to the contract, what it was dismissed with, and
        CancelledError when it is cancelled, which means that the client went away.
        """
        relay = self._relay
        self._task = task = asyncio.current_task()
        relay.wake = self._wake
        reading = asyncio.create_task(self._read())
        try:
            self._wake()
            await self._write()
            if relay.awaits_hangup:
                await self._until_hung_up()
        except ConnectionError:
            relay.client_gone("The client went away.")
        except asyncio.CancelledError:
            relay.client_gone("The client went away.")
            if not self._cut_off or task is None or task.uncancel():
                raise
        finally:
            self._task = None
            reading.cancel()
            for waiting in (self._draining, self._farewell):
                if waiting is not None:
                    waiting.cancel()
        if self._dismissed is not None:
            raise self._dismissed

    @property
    def was_dismissed(self) -> bool:
        return self._dismissed is not None

    def dismiss(self, refused: Refused) -> None:
        """Ends the call with that, soon; to the relay, the client has gone away."""
        self._dismissed = refused
        self._give_up()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._relay.is_cut and self._farewell is None and self._task is not None:
            self._farewell = asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None and not self._cut_off:
            self._cut_off = True
            self._task.cancel()

    async def _write(self) -> None:
        relay, send = self._relay, self._sink.send
        while not relay.is_over:
            frame = relay.next_control()
            if frame is not None:
                await send(frame)
                continue
            frame = relay.next_output()
            if frame is None:
                await self._wait()
            elif await self._durable():
                await send(frame)

    async def _until_hung_up(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANGUP_SECONDS):
                while self._relay.awaits_hangup:
                    await self._wait()

    async def _wait(self) -> None:
        """Until something happens, or output that is being gathered is due."""
        due = self._relay.due_in()
        if due == 0:
            return  # it became due just now
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        # The loop counts in milliseconds and would take less than a half for none: it would spin.
        timer = None if due is None else loop.call_later(max(due, COALESCE_SECONDS), self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def _durable(self) -> bool:
        """Whether what was recorded so far is safe, so that it may go on."""
        try:
            await self._relay.journal.durable()
        except RecordingFailed as failure:
            self._relay.recording_failed(str(failure))
        return not self._relay.is_cut

    async def _read(self) -> None:
        relay = self._relay
        if relay.wants_drain:
            self._draining = asyncio.create_task(self._drain())
        try:
            while (frame := await self._source.receive()) is not None:
                payload = relay.received(frame)
                if payload and await self._durable():
                    relay.upstream.write(payload)
                if self._draining is None and relay.wants_drain:
                    self._draining = asyncio.create_task(self._drain())
            relay.no_more_frames()
        except Refused:
            pass  # the relay knows; the other loop says so
        except ConnectionError:
            self._lost("The client went away.")
        except BaseException:
            self._lost("The client's frames could not be read any more.")
            raise

    def _lost(self, message: str) -> None:
        if self._task is not None:  # else the relay may be another's already
            self._relay.client_gone(message)
            if not self._relay.is_attended:
                self._give_up()

    async def _drain(self) -> None:
        relay = self._relay
        held = relay.input_used
        relay.budget.used += held
        try:
            await relay.upstream.drain()
        finally:
            relay.budget.used -= held
            self._draining = None
        relay.drained()

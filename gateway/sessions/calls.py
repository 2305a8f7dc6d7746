"""The calls that carry one resumable session: one at a time, the latest wins, and between them it waits."""

import asyncio
from collections.abc import Callable

from gateway.errors import Refused
from gateway.sessions.frames import FrameSink, FrameSource
from gateway.sessions.model import Resuming, Session
from gateway.sessions.pump import Pump
from gateway.sessions.reasons import session_ended, taken_over
from gateway.sessions.resumable import ResumableRelay


class Calls:
    """Of a session that is open.

    `over` is called once, when no call can follow; `vanished` when a client is gone that may come back.
    """

    def __init__(self, relay: ResumableRelay, over: Callable[[], None], vanished: Callable[[], None]) -> None:
        self._relay = relay
        self._over = over
        self._vanished = vanished
        self._pump: Pump | None = None
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._turn = asyncio.Lock()
        self._is_over = False
        relay.wake = self._look

    @property
    def is_carried(self) -> bool:
        return self._pump is not None

    async def first(self, source: FrameSource, sink: FrameSink) -> None:
        """The call that opened the session; as `Pump.run`, but that a vanished client ends nothing."""
        await self._carry(Pump(self._relay, source, sink))

    async def next(
        self,
        session: Session,
        resuming: Resuming,
        source: FrameSource,
        sink: FrameSink,
        resumed: Callable[[int], None],
    ) -> None:
        """A further call, which ends the one that carries the session; `resumed` is told from which offset on.

        Raises Refused: SESSION_ENDED, OFFSET_NOT_KEPT, and what `first` raises.
        """
        async with self._turn:
            self._offset(session, resuming)  # one that may not begin ends no other
            if self._pump is not None:
                self._pump.dismiss(taken_over(session))
                await self._is_free.wait()
            offset = self._offset(session, resuming)
            pump = self._pump = Pump(self._relay, source, sink)
            self._relay.attach(session, offset, resuming.credit)
        resumed(offset)
        if resuming.terminal is not None:
            self._relay.resized(resuming.terminal)
        await self._carry(pump)

    def leave(self, refused: Refused) -> None:
        """This process stops, and leaves the session to the next one; a client is told `refused`."""
        self._is_over = True
        self._relay.leave()
        if self._pump is not None:
            self._pump.dismiss(refused)

    def _offset(self, session: Session, resuming: Resuming) -> int:
        if self._is_over or self._relay.is_cut:
            ending = self._relay.ending
            raise session_ended(session.id, *((ending.end, ending.message) if ending else ()))
        return self._relay.offset_for(resuming.received)

    async def _carry(self, pump: Pump) -> None:
        self._pump = pump
        self._is_free.clear()
        try:
            await pump.run()
        finally:
            self._pump = None
            self._is_free.set()
            self._relay.wake = self._look
            if self._relay.is_waiting and not pump.was_dismissed:
                self._vanished()
            self._look()

    def _look(self) -> None:
        """What `wake` does while no call carries the session."""
        if self._pump is None and not self._is_over and not self._relay.is_waiting:
            self._is_over = True
            self._over()

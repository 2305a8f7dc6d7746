"""The sessions of this process that can be resumed, and those that are expected back from their nodes."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from gateway.identity.caller import Caller
from gateway.nodes.errors import NodeUnreachable
from gateway.sessions import story
from gateway.sessions.calls import Calls
from gateway.sessions.ending import LastEntries
from gateway.sessions.frames import FrameSink, FrameSource
from gateway.sessions.live import LiveSession
from gateway.sessions.model import Resuming, Session
from gateway.sessions.reasons import session_ended, stopping, taken_over
from gateway.sessions.resumable import ResumableRelay
from gateway.sessions.watch import Watch

BACK_SECONDS = 20.0
"""How long a client waits for a node to bring its session back."""


class Keeping:
    """Holds each until it is over; then `finish` is called with it, once."""

    def __init__(
        self,
        watch: Watch,
        last_entries: LastEntries,
        *,
        clock: Callable[[], datetime],
        finish: Callable[[LiveSession], Coroutine[Any, Any, None]],
    ) -> None:
        self._watch = watch
        self._last_entries = last_entries
        self._clock = clock
        self._finish = finish
        self._calls: dict[str, Calls] = {}
        # With the call that waits for it, if one does: the latest.
        self._expected: dict[str, asyncio.Future[None] | None] = {}

    @property
    def unattended(self) -> int:
        """Sessions that no call carries now."""
        return len(self._expected) + sum(not calls.is_carried for calls in self._calls.values())

    def expect(self, session_id: str) -> None:
        """Its node may bring it back, and `settle` is called whatever becomes of it."""
        self._expected[session_id] = None

    def settle(self, session_id: str) -> None:
        waiting = self._expected.pop(session_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def hold(self, live: LiveSession, relay: ResumableRelay) -> Calls:
        """From now on its client may vanish. `relay` is the session's."""
        session = live.session

        def over() -> None:
            del self._calls[session.id]
            self._last_entries.later(self._finish(live))

        def vanished() -> None:
            self._last_entries.later(self._last_entries.tell(story.detached(session, self._clock())))

        calls = self._calls[session.id] = Calls(relay, over, vanished)
        return calls

    async def resume(
        self, caller: Caller, session: Session, resuming: Resuming, source: FrameSource, sink: FrameSink
    ) -> None:
        """Carries a session until this call of it ends.

        Raises Refused: NODE_UNREACHABLE, SESSION_TAKEN_OVER, and what `Calls.next` raises.
        """
        calls = await self._find(session)

        def resumed(offset: int) -> None:
            event = story.resumed(session, caller, offset, self._clock())
            self._last_entries.later(self._last_entries.tell(event))

        await calls.next(session, resuming, source, sink, resumed)

    def leave(self, live: LiveSession) -> bool:
        """This process stops: whether the next one can go on with the session. It could not record every one."""
        calls, recording = self._calls.get(live.session.id), live.recording
        if calls is None or recording is None or live.relay.journal is not recording:
            return False
        del self._calls[live.session.id]
        self._watch.leave(live.session.id)
        calls.leave(stopping())
        recording.suspend()
        return True

    async def _find(self, session: Session) -> Calls:
        if session.id in self._expected:
            await self._expect_back(session)
        calls = self._calls.get(session.id)
        if calls is None:
            raise session_ended(session.id)
        return calls

    async def _expect_back(self, session: Session) -> None:
        """Calls that wait take a place each: the latest is the one whose client is there."""
        earlier = self._expected[session.id]
        if earlier is not None and not earlier.done():
            earlier.set_exception(taken_over(session))
        waiting = self._expected[session.id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(BACK_SECONDS):
                await waiting
        except TimeoutError:
            message = f"{session.node_name} has not brought session {session.id} back yet"
            raise NodeUnreachable(message, "Try again in a moment.") from None

"""Recordings whose writer died and that are not ended: they wait for somebody to go on, or to give them up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from recorder.chain import Chain
from recorder.errors import RecordingFailed
from recorder.model import Quarantined, SessionInfo
from recorder.recording import Recording
from recorder.recovery import INTERRUPTED, Finisher, Waiting
from recorder.spool import Earlier, SessionFolder

Begin = Callable[[SessionInfo, datetime, Earlier, SessionFolder], Awaitable[Recording]]
"""Begins the epoch after those that `Earlier` tells of, and removes their folder."""


@dataclass(slots=True, eq=False)
class _Held:
    """One that waits, and which of the two is under way."""

    folder: SessionFolder
    taking: asyncio.Task[Recording] | None = None
    ending: asyncio.Task[None] | None = None

    def taken(self, taking: asyncio.Task[Recording]) -> None:
        """What failed may be tried again; what came about is kept until somebody has it."""
        if taking.cancelled() or taking.exception() is not None:
            self.taking = None


class Holding:
    """Belongs to one event loop. A folder that is held is nobody else's to finish."""

    def __init__(self, finisher: Finisher, begin: Begin) -> None:
        self._finisher = finisher
        self._begin = begin
        self._held: dict[str, _Held] = {}

    @property
    def names(self) -> frozenset[str]:
        """Ids of the sessions that can be taken."""
        return frozenset(name for name, held in self._held.items() if held.ending is None)

    def keep(self, folder: SessionFolder) -> None:
        self._held[folder.path.name] = _Held(folder)

    def has(self, folder: SessionFolder) -> bool:
        held = self._held.get(folder.path.name)
        return held is not None and held.folder.path == folder.path

    async def take(self, session_id: str) -> Recording:
        """The recording, in its next epoch; it is held no more. Raises RecordingFailed.

        It goes on beginning when the caller stops waiting, and is then there for the next one who asks.
        """
        held = self._held.get(session_id)
        if held is None or held.ending is not None:
            raise _not_held(session_id)
        if held.taking is None:
            held.taking = asyncio.get_running_loop().create_task(self._take(session_id, held))
            held.taking.add_done_callback(held.taken)
        recording = await asyncio.shield(held.taking)
        if held.ending is not None or self._held.get(session_id) is not held:
            raise _not_held(session_id)
        del self._held[session_id]
        return recording

    async def give_up(self, session_id: str) -> None:
        """Finish it; what has to wait is left in its folder, and held no more."""
        held = self._held.get(session_id)
        if held is not None:
            if held.ending is None:
                held.ending = asyncio.get_running_loop().create_task(self._give_up(session_id, held))
            await asyncio.shield(held.ending)

    async def let_go(self) -> None:
        """Stop what is under way; a recording that was resumed, and that nobody has, is suspended."""
        for held in list(self._held.values()):
            under_way = [task for task in (held.taking, held.ending) if task is not None]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if held.taking is not None:
                held.taking.result().suspend()
        self._held = {}

    async def _take(self, session_id: str, held: _Held) -> Recording:
        match await self._finisher.settle(held.folder):
            case Chain() as chain:
                return await self._begin(chain.head.session, chain.head.started_at, chain.left(), held.folder)
            case Waiting(reason=reason):
                raise RecordingFailed(f"the recording of {session_id} cannot go on now: {reason}")
            case Quarantined(reason=reason):
                why = f"was set aside: {reason}"
            case _:
                why = "had ended"
        self._held.pop(session_id, None)
        raise RecordingFailed(f"the recording of {session_id} {why}")

    async def _give_up(self, session_id: str, held: _Held) -> None:
        try:
            with contextlib.suppress(RecordingFailed):
                if held.taking is not None:
                    await (await held.taking).close(INTERRUPTED)
                    return
            if self._held.get(session_id) is held:
                await self._finisher.recover(held.folder)
        finally:
            self._held.pop(session_id, None)


def _not_held(session_id: str) -> RecordingFailed:
    return RecordingFailed(f"there is no recording of {session_id} that could go on")

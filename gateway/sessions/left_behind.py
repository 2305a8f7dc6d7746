"""Sessions of a gateway that does not come back: another one writes their end, so that none seems live for ever.

A gateway that is there ends a session at its `ends_at` by itself. One that is past that by the margin has nobody.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.sessions.ending import LastEntries
from gateway.sessions.model import End, Ending
from gateway.store import sessions
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.sessions")

MARGIN: Final = timedelta(minutes=2)
"""For clocks that differ, and for a gateway whose last entries are late."""
_LOOK_SECONDS: Final = 30.0
_LEFT: Final = Ending(
    End.GATEWAY_STOPPED, "The gateway that held this session was away when the session had to end at the latest."
)


class LeftBehind:
    """Nobody's sessions. Any number of gateways may look after them: an end is written once."""

    def __init__(
        self, database: Database, last_entries: LastEntries, clock: Callable[[], datetime], *, replica: str
    ) -> None:
        self._database = database
        self._last_entries = last_entries
        self._clock = clock
        self._replica = replica

    async def run(self) -> None:
        """A worker: runs until it is cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - logged; the next look may work again
                _log.exception("left_behind.blind")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Ends what others hold and should have ended. The rest of the recordings is in their spools."""
        async with self._database.read() as connection:
            left = await sessions.overdue(connection, self._replica, self._clock() - MARGIN)
        for session in left:
            _log.warning("session.left_behind", session=session.id, replica=session.replica)
            await self._last_entries.write(session, _LEFT)

"""Reminders, escalations and warnings: events that nobody makes but time (R22)."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from gateway.access.model import AccessRequest
from gateway.identity.ports import Clock
from gateway.notices import timing
from gateway.store import events, requests
from gateway.store.changes import Changes
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.notices")

LOOK_EVERY: Final = timedelta(seconds=30)
_BATCH: Final = 200
_SUMMARIES: Final = {
    timing.REMINDER: "{id} still waits for a decision about {node}",
    timing.ESCALATED: "{id} escalates: further approvers may decide about {node}",
    timing.PENDING_ENDS_SOON: "{id} times out soon, and nobody has decided about {node}",
    timing.WINDOW_ENDS_SOON: "the access of {requester} to {node} ends soon",
}


class Timers:
    """A worker; any number of replicas run one. What was told is in the audit log, so nothing is told twice."""

    def __init__(self, database: Database, clock: Clock, changes: Changes) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes

    async def run(self) -> None:
        """Runs until it is cancelled. A failure is logged and tried again."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - logged; the next look may work again
                _log.exception("timers.failed")
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> int:
        """How many events were due."""
        after, count = "", 0
        while True:
            async with self._database.read() as connection:
                live = await requests.live(connection, after, _BATCH)
                told = await events.latest(connection, [request_id for request_id, _ in live], timing.TYPES)
            for request_id, request in live:
                if isinstance(request, ValueError):
                    # One damaged record must not keep all the others from being told of.
                    _log.error("timers.request_unreadable", request=request_id, reason=str(request))
                elif timing.due(request.life, told.get(request_id, {}), self._clock()):
                    count += await self._tell(request_id)
            if len(live) < _BATCH:
                return count
            after = live[-1][0]

    async def _tell(self, request_id: str) -> int:
        async with self._database.transaction() as tx:
            request = await requests.lock(tx.connection, request_id)
            if request is None:
                return 0
            now = self._clock()
            told = await events.latest(tx.connection, [request_id], timing.TYPES)
            due = timing.due(request.life, told.get(request_id, {}), now)
            await events.append(tx.connection, *(_event(kind, request, self._clock) for kind in due))
            tx.after_commit(lambda: self._changes.publish("outbox"))
        return len(due)


def _event(kind: str, request: AccessRequest, clock: Clock) -> events.Event:
    life = request.life
    words = {"id": life.id, "node": request.node_name, "requester": life.requester.user_id}
    return events.Event(
        kind,
        clock(),
        life.id,
        _SUMMARIES[kind].format_map(words),
        account=life.account,
        region=life.region,
        details={"level": None if life.current_level is None else life.current_level + 1},
    )

"""Logs of sessions while they run, where their preferences want them (R26)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from opentelemetry import metrics
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import Refused
from gateway.identity.ports import Clock
from gateway.places.choosing import log_place_of
from gateway.session_logs.sinks import LogSinks
from gateway.sessions.model import Ending, Session
from gateway.store import allowances
from gateway.store.database import Database
from gateway.store.events import Event, append
from gateway.store.failures import DatabaseUnavailable
from gateway.store.preferences import Preferences
from recorder.session_log.log import Loss, Room, SessionLog
from recorder.session_log.ports import LogRefused, LogSink, LogUnavailable

_log = structlog.get_logger("jitgate.sessions")
_counter = metrics.get_meter("jitgate.session_logs").create_counter(
    "jitgate.session_logs", description="Logs of sessions that have ended, by account and outcome"
)
_COMMAND_CHARACTERS: Final = 1024


class SessionLogs:
    """Begins and ends the logs of this process's sessions."""

    def __init__(self, database: Database, sinks: LogSinks, clock: Clock, *, last_seconds: float = 60.0) -> None:
        self._database = database
        self._sinks = sinks
        self._clock = clock
        self._last_seconds = last_seconds
        self._room = Room()
        self._live: set[SessionLog] = set()
        self._failing: set[tuple[str, str]] = set()

    def begin(self, session: Session, wanted: Preferences, *, resumed: bool = False) -> SessionLog | None:
        """The log of a session that begins or that this process goes on with; None: it has none."""
        if not wanted.log_sessions:
            return None
        told = _Told(self, session, wanted.log_group)
        log = SessionLog(
            f"{session.started_at:%Y/%m/%d}/{session.id}",
            _about(session),
            lambda: self._sink(session, wanted),
            told,
            clock=self._clock,
            room=self._room,
            last_seconds=self._last_seconds,
        )
        told.log = log
        self._live.add(log)
        log.note("resume" if resumed else "start", source_address=session.source_address)
        return log

    async def stop(self, seconds: float) -> None:
        """Waits so long for what waits; sessions that go on elsewhere are logged by who goes on with them."""
        live = list(self._live)
        for log in live:
            log.end("pause")
        draining = [asyncio.create_task(log.drained()) for log in live]
        if draining:
            await asyncio.wait(draining, timeout=seconds)
        for log in live:
            log.abandon()
        await asyncio.gather(*draining, return_exceptions=True)

    async def _sink(self, session: Session, wanted: Preferences) -> LogSink:
        """Asked when the first line is there: what is allowed no more is not written to."""
        if not wanted.log_group:
            return self._sinks.of(None)
        try:
            async with self._database.read() as connection:
                allowed = await allowances.of(connection, session.account)
            role = wanted.recording_place.role
            return self._sinks.of(log_place_of(wanted.log_group, role, session.account, allowed))
        except Refused as refused:
            raise LogRefused(refused.message) from None
        except (DatabaseUnavailable, SQLAlchemyError, OSError):
            raise LogUnavailable("what the account is allowed cannot be looked up") from None

    async def failing(self, account: str, group: str, reason: str) -> None:
        if (account, group) not in self._failing:
            self._failing.add((account, group))
            summary = f"Logs of sessions of account {account} are not taken: {reason}"
            await self._tell(Event("session_log.failed", self._clock(), account, summary, account=account))

    async def works(self, account: str, group: str) -> None:
        if (account, group) in self._failing:
            self._failing.discard((account, group))
            summary = f"Logs of sessions of account {account} are taken again"
            await self._tell(Event("session_log.works", self._clock(), account, summary, account=account))

    async def ended(self, log: SessionLog, session: Session, loss: Loss | None) -> None:
        self._live.discard(log)
        outcome = "complete" if loss is None else "incomplete"
        _counter.add(1, {"account": session.account, "outcome": outcome})
        if loss is None:
            return
        event = Event(
            type="session.log_incomplete",
            at=self._clock(),
            subject=session.id,
            summary=f"The log of {session.user_id} on {session.node_name} is incomplete: {loss.reason}",
            account=session.account,
            region=session.region,
            details={
                "request": session.request_id,
                "reason": loss.reason,
                "dropped_chunks": loss.chunks,
                "dropped_bytes": loss.bytes,
                "lost_lines": loss.lines,
            },
        )
        await self._tell(event)

    async def _tell(self, event: Event) -> None:
        try:
            async with self._database.transaction() as tx:
                await append(tx.connection, event)
        except Exception:  # noqa: BLE001 - a log is not worth a session
            _log.exception("session_log.untold", type=event.type, summary=event.summary)


class _Told:
    """What one session's log tells."""

    def __init__(self, logs: SessionLogs, session: Session, group: str) -> None:
        self._logs = logs
        self._session = session
        self._group = group
        self.log: SessionLog

    async def failing(self, reason: str) -> None:
        await self._logs.failing(self._session.account, self._group, reason)

    async def works(self) -> None:
        await self._logs.works(self._session.account, self._group)

    async def ended(self, loss: Loss | None) -> None:
        await self._logs.ended(self.log, self._session, loss)


def told_end(ending: Ending) -> dict[str, Any]:
    """What the last line of a log says of it."""
    told: dict[str, Any] = {"end": ending.end.value, "message": ending.message}
    if ending.status is not None:
        told["status"] = ending.status
    if ending.signal:
        told["signal"] = ending.signal
    return told


def _about(session: Session) -> dict[str, str]:
    about = {
        "session": session.id,
        "request": session.request_id,
        "user": session.user_id,
        "node": session.node_id,
        "node_name": session.node_name,
        "login": session.login,
        "account": session.account,
        "region": session.region,
        "kind": session.kind.value,
    }
    if session.command:  # of a shell nobody can tell what is a command: its output shows what was typed
        about["command"] = session.command[:_COMMAND_CHARACTERS]
    return about

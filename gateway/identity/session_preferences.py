"""Session preferences read and written by those who may (R26)."""

from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Protocol

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.places.choosing import log_place_of, place_of, require_bounded_lock
from gateway.places.model import Allowance, LogPlace, Place
from gateway.store import allowances, events, preferences
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.preferences import Preferences
from jitgate.v1 import annotations_pb2 as declared
from recorder.errors import RecorderError


class Examiner(Protocol):
    """Tries out what preferences name; `gateway.places.pool.Pool` is one."""

    async def examine(self, place: Place) -> None:
        """Whether recordings can be made there. Raises RecorderError."""


class LogExaminer(Protocol):
    """Tries out where sessions are logged; `gateway.session_logs.sinks.LogSinks` is one."""

    async def try_out(self, place: LogPlace | None, now: datetime) -> None:
        """Whether a line is taken there, None: by the gateway's own target. Raises RecorderError."""


class SessionPreferences:
    """New preferences hold for sessions that start after the change."""

    def __init__(
        self,
        database: Database,
        changes: Changes,
        clock: Clock,
        examiner: Examiner,
        log_examiner: LogExaminer,
        *,
        longest_lock_days: int,
    ) -> None:
        """`longest_lock_days`: how long they may have objects of recordings retained."""
        self._database = database
        self._changes = changes
        self._clock = clock
        self._examiner = examiner
        self._log_examiner = log_examiner
        self._longest_lock_days = longest_lock_days

    async def get(self, caller: Caller, account: str, region: str) -> Preferences:
        """What holds there. Raises Refused NOT_PERMITTED."""
        caller.require(declared.PERMISSION_READ_PREFERENCES, account, region)
        async with self._database.read() as connection:
            return await preferences.get(connection, account, region)

    async def put(self, caller: Caller, account: str, region: str, new: Preferences) -> Preferences:
        """Replaces them as a whole. A place that was not chosen before is tried out first.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, NOT_ALLOWED, PLACE_UNUSABLE.
        """
        caller.require(declared.PERMISSION_WRITE_PREFERENCES, account, region)
        require_bounded_lock(new.recording_place, self._longest_lock_days)
        async with self._database.read() as connection:
            before = await preferences.get(connection, account, region)
            place, log_place = _allowed(new, account, await allowances.of(connection, account))
        if place is not None and new.recording_place != before.recording_place:
            await _tried("Recordings cannot be made there", self._examiner.examine(place))
        if new.log_sessions and _log_choice(new) != _log_choice(before):
            trying = self._log_examiner.try_out(log_place, self._clock())
            await _tried("Sessions cannot be logged there", trying)
        async with self._database.transaction() as tx:
            _allowed(new, account, await allowances.of(tx.connection, account))
            now = self._clock()
            before = await preferences.get(tx.connection, account, region)
            await preferences.put(tx.connection, account, region, new, at=now, by=caller.user.id)
            event = Event(
                "preferences.changed",
                now,
                f"{account}/{region}",
                f"{caller.user.id} changed the session preferences of account {account}, Region {region}",
                caller.user.id,
                caller.source_address,
                account,
                region,
                {"before": asdict(before), "after": asdict(new)},
            )
            await events.append(tx.connection, event)
            tx.after_commit(lambda: self._changes.publish("preferences"))
        return new


async def _tried(what: str, trying: Awaitable[None]) -> None:
    try:
        await trying
    except RecorderError as failure:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "PLACE_UNUSABLE",
            f"{what}: {failure}",
            "Nothing was changed. Set it once that works.",
        ) from None


def _log_choice(wanted: Preferences) -> tuple[bool, str, str]:
    return wanted.log_sessions, wanted.log_group, wanted.recording_place.role


def _allowed(new: Preferences, account: str, allowed: Sequence[Allowance]) -> tuple[Place | None, LogPlace | None]:
    """Where recordings and logs go, None: as the gateway is configured. Raises Refused NOT_ALLOWED."""
    log_place = None
    if new.log_group:
        log_place = log_place_of(new.log_group, new.recording_place.role, account, allowed)
    return place_of(new.recording_place, account, allowed), log_place

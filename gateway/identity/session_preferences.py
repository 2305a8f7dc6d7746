"""Session preferences read and written by those who may (R26)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.places.choosing import place_of, require
from gateway.places.model import Allowance, AllowanceKind, Place
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


class SessionPreferences:
    """New preferences hold for sessions that start after the change."""

    def __init__(self, database: Database, changes: Changes, clock: Clock, examiner: Examiner) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock
        self._examiner = examiner

    async def get(self, caller: Caller, account: str, region: str) -> Preferences:
        """What holds there. Raises Refused NOT_PERMITTED."""
        caller.require(declared.PERMISSION_READ_PREFERENCES, account, region)
        async with self._database.read() as connection:
            return await preferences.get(connection, account, region)

    async def put(self, caller: Caller, account: str, region: str, new: Preferences) -> Preferences:
        """Replaces them as a whole. A place that was not chosen before is tried out first.

        Raises Refused: NOT_PERMITTED, NOT_ALLOWED, PLACE_UNUSABLE.
        """
        caller.require(declared.PERMISSION_WRITE_PREFERENCES, account, region)
        async with self._database.read() as connection:
            before = await preferences.get(connection, account, region)
            place = _allowed(new, account, await allowances.of(connection, account))
        if place is not None and new.recording_place != before.recording_place:
            await self._examine(place)
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

    async def _examine(self, place: Place) -> None:
        try:
            await self._examiner.examine(place)
        except RecorderError as failure:
            raise Refused(
                Kind.FAILED_PRECONDITION,
                "PLACE_UNUSABLE",
                f"Recordings cannot be made there: {failure}",
                "Nothing was changed. Set it once that works.",
            ) from None


def _allowed(new: Preferences, account: str, allowed: Sequence[Allowance]) -> Place | None:
    """Raises Refused NOT_ALLOWED."""
    if new.log_group:
        require(AllowanceKind.LOG_GROUP, new.log_group, account, allowed)
    return place_of(new.recording_place, account, allowed)

"""Session preferences read and written by those who may (R26)."""

from dataclasses import asdict

from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import events, preferences
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.preferences import Preferences
from jitgate.v1 import annotations_pb2 as declared


class SessionPreferences:
    """New preferences hold for sessions that start after the change."""

    def __init__(self, database: Database, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def get(self, caller: Caller, account: str, region: str) -> Preferences:
        """What holds there. Raises Refused NOT_PERMITTED."""
        caller.require(declared.PERMISSION_READ_PREFERENCES, account, region)
        async with self._database.read() as connection:
            return await preferences.get(connection, account, region)

    async def put(self, caller: Caller, account: str, region: str, new: Preferences) -> Preferences:
        """Replaces them as a whole. Raises Refused NOT_PERMITTED."""
        caller.require(declared.PERMISSION_WRITE_PREFERENCES, account, region)
        async with self._database.transaction() as tx:
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

"""What administrators see of notices that wait or were given up, and do about them."""

from gateway.errors import invalid
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE
from gateway.identity.ports import Clock
from gateway.notices.expanding import topic_of
from gateway.notices.planning import FOR_DECIDERS
from gateway.store import events, outbox
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.outbox import Due
from jitgate.v1 import annotations_pb2 as declared

WRITE = declared.PERMISSION_WRITE_DIRECTORY


class NoticeBacklog:
    def __init__(self, database: Database, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def page(
        self, caller: Caller, *, dead_only: bool, limit: int, after: tuple[int, str] | None
    ) -> list[Due]:
        """Raises Refused NOT_PERMITTED."""
        caller.require(WRITE, EVERYWHERE, EVERYWHERE)
        async with self._database.read() as connection:
            return await outbox.page(connection, dead_only=dead_only, limit=limit, after=after)

    async def retry(self, caller: Caller, ids: list[str]) -> tuple[int, int]:
        """How many are tried again, without ids all that were given up; and how many are discarded instead, since
        they ask for a decision about a request that is not pending any more. Raises Refused NOT_PERMITTED."""
        caller.require(WRITE, EVERYWHERE, EVERYWHERE)
        async with self._database.transaction() as tx:
            channels = {waiting.channel for waiting in await outbox.backlog(tx.connection)}
            outdated = await outbox.drop_outdated(tx.connection, ids, FOR_DECIDERS)
            if outdated:
                await events.append(tx.connection, self._event(caller, "discarded", outdated))
            count = await outbox.retry(tx.connection, ids, self._clock())
            if count:
                await events.append(tx.connection, self._event(caller, "retried", count))
            tx.after_commit(lambda: self._changes.publish(*map(topic_of, channels)))
        return count, outdated

    async def discard(self, caller: Caller, ids: list[str]) -> int:
        """How many there were. Raises Refused NOT_PERMITTED, INVALID_FIELD."""
        caller.require(WRITE, EVERYWHERE, EVERYWHERE)
        if not ids:
            raise invalid("ids", "must name what to discard", "List them: jit notices list")
        async with self._database.transaction() as tx:
            count = await outbox.drop(tx.connection, ids)
            if count:
                await events.append(tx.connection, self._event(caller, "discarded", count))
        return count

    def _event(self, caller: Caller, did: str, count: int) -> events.Event:
        what = "notice" if count == 1 else "notices"
        return events.Event(
            f"notice.{did}",
            self._clock(),
            "notices",
            f"{caller.user.id} {did} {count} {what}",
            caller.user.id,
            caller.source_address,
            details={"count": count},
        )

"""Reading requests: one, many, and one as it changes (R28)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

from approvals.model import Status
from gateway.access import ground
from gateway.access.model import AccessRequest
from gateway.access.possible import Possible, possible
from gateway.access.transitions import Transitions
from gateway.access.visibility import not_found, reader_of, sees
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import requests
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.requests import Filter

# Another replica's changes wake nobody here: watchers look by themselves that often.
POLL = timedelta(seconds=2)
_MIN_BATCH = 100


class RequestReader:
    """What a caller may see; everything else is not there."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        transitions: Transitions,
        poll: timedelta = POLL,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._transitions = transitions
        self._poll = poll

    async def get(self, caller: Caller, request_id: str) -> AccessRequest:
        """The request with its events. Raises Refused REQUEST_NOT_FOUND, USER_LOCKED or USER_REMOVED."""
        async with self._database.read() as connection:
            caller = await ground.afresh(connection, caller, self._clock())
            request = await requests.get(connection, request_id)
            if request is None or not sees(caller, request):
                raise not_found(request_id)
            return replace(request, events=await requests.story(connection, request_id))

    def possible(self, caller: Caller, request: AccessRequest) -> Possible:
        """What the caller could do to a request that was just read."""
        return possible(self._transitions, caller, request, self._clock())

    async def watch(self, caller: Caller, request_id: str) -> AsyncIterator[AccessRequest]:
        """The request now and after every change, until its life has ended. Raises Refused as `get`, any time."""
        seen = 0
        with self._changes.subscribe(request_id) as changed:
            while True:
                changed.clear()
                request = await self.get(caller, request_id)
                if request.revision > seen:
                    seen = request.revision
                    yield request
                if request.life.status.is_final:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll.total_seconds()):
                        await changed.wait()

    async def find(
        self,
        caller: Caller,
        wanted: Filter,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> tuple[list[AccessRequest], bool]:
        """A page of what the caller sees, newest first, and whether there is more. Without events."""
        async with self._database.read() as connection:
            found = await requests.find(connection, reader_of(caller), wanted, limit + 1, after)
        return found[:limit], len(found) > limit

    async def waiting_for(
        self,
        caller: Caller,
        wanted: Filter,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> tuple[list[AccessRequest], bool]:
        """As `find`, but only requests that the caller could decide on at this moment, if need be after a sign-in.

        The database narrows it to pending requests that name the caller; the core says who may decide now.
        """
        wanted = replace(wanted, statuses=frozenset({Status.PENDING}), named=True)
        found: list[AccessRequest] = []
        async with self._database.read() as connection:
            caller = await ground.afresh(connection, caller, self._clock())
            batch_size = max(_MIN_BATCH, limit)
            while len(found) <= limit:
                batch = await requests.find(connection, reader_of(caller), wanted, batch_size, after)
                found += [request for request in batch if self.possible(caller, request).waits]
                if len(batch) < batch_size:
                    break
                after = (batch[-1].life.opened_at, batch[-1].life.id)
        return found[:limit], len(found) > limit

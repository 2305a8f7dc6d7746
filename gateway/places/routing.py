"""The store and the keys of all recordings in one: each call goes to the place of the session that it is about.

So nobody else needs to know that there is more than one place. The session is in an object's name and in a data
key's encryption context; its place is in its row.
"""

import contextlib
import heapq
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.places.keys_told import KeysTold
from gateway.places.model import AllowanceKind, Place, region_of
from gateway.places.pool import Opened, Pool
from gateway.store import allowances, recording_places
from gateway.store.database import Database
from gateway.store.failures import DatabaseUnavailable
from recorder.errors import KeyFailed, KeyUnavailable, StoreUnavailable
from recorder.ports import DataKey, ObjectInfo, Receipt

_REMEMBERED: Final = 4096
_SESSION_PART: Final = 5  # <account>/<region>/<yyyy>/<mm>/<dd>/<session id>/
_FORMER_KEYS: Final = 16
_AWAY: Final = (DatabaseUnavailable, SQLAlchemyError, OSError)


class Places:
    """Finds the places of sessions and lends them. A place never changes, so it is remembered."""

    def __init__(self, database: Database, pool: Pool) -> None:
        self._database = database
        self.pool = pool
        self._known: OrderedDict[str, Place | None] = OrderedDict()

    async def of(self, session_id: str) -> Place | None:
        """None: the gateway's own. Raises DatabaseUnavailable."""
        if session_id in self._known:
            self._known.move_to_end(session_id)
            return self._known[session_id]
        async with self._database.read() as connection:
            place = await recording_places.get(connection, session_id)
        self._known[session_id] = place
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return place

    async def to_open(self, session_id: str) -> Place | None:
        """The place with every key that may have wrapped for it: an alias may have pointed to another before."""
        place = await self.of(session_id)
        if place is None or ":alias/" not in place.key:
            return place
        async with self._database.read() as connection:
            allowed = await allowances.of(connection, place.account)
        former = [
            each.name
            for each in allowed
            if each.kind is AllowanceKind.KEY and region_of(each.name) == region_of(place.key)
        ]
        return replace(place, former_keys=tuple(name for name in former if name != place.key)[:_FORMER_KEYS])

    async def every(self) -> list[Place | None]:
        """All places that recordings have. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            return [None, *await recording_places.every(connection)]


class PlacedStore:
    """An object store; what belongs to no session is in the gateway's own."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        async with self._at(name) as at:
            return await at.store.put_if_absent(name, data, sha256)

    async def get(self, name: str) -> bytes:
        async with self._at(name) as at:
            return await at.store.get(name)

    async def get_range(self, name: str, start: int, length: int) -> bytes:
        async with self._at(name) as at:
            return await at.store.get_range(name, start, length)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        if _session_of(prefix) is not None:
            async with self._at(prefix) as at:
                async for found in at.store.list(prefix):
                    yield found
            return
        async with contextlib.AsyncExitStack() as stack:
            with _store_errors():
                places = await self._places.every()
            stores = [(await stack.enter_async_context(self._places.pool.using(each))).store for each in places]
            # Two places may be one bucket, by different roles or with different retention.
            last = ""
            async for found in _merged([store.list(prefix) for store in dict.fromkeys(stores)]):
                if found.name != last:
                    yield found
                last = found.name

    async def delete(self, name: str) -> None:
        async with self._at(name) as at:
            await at.store.delete(name)

    @contextlib.asynccontextmanager
    async def _at(self, name: str) -> AsyncIterator[Opened]:
        session_id = _session_of(name)
        with _store_errors():
            place = None if session_id is None else await self._places.of(session_id)
        async with self._places.pool.using(place) as opened:
            yield opened


class PlacedKeys:
    """A key provider; a context without a session is the gateway's own key's."""

    def __init__(self, places: Places, told: KeysTold) -> None:
        self._places = places
        self._told = told

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        with _key_errors():
            place = await self._places.of(context["session"]) if "session" in context else None
        async with self._telling("generate", place), self._places.pool.using(place) as at:
            return await at.keys.generate_data_key(context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        with _key_errors():
            place = await self._places.to_open(context["session"]) if "session" in context else None
        async with self._telling("unwrap", place), self._places.pool.using(place) as at:
            return await at.keys.unwrap(wrapped, context)

    @contextlib.asynccontextmanager
    async def _telling(self, operation: str, place: Place | None) -> AsyncIterator[None]:
        account, key = (place.account, place.key) if place is not None and place.key else ("", "")
        try:
            yield
        except KeyFailed as failure:
            await self._told.failed(operation, account, key, failure)
            raise
        await self._told.works(operation, account, key)


def _session_of(name: str) -> str | None:
    parts = name.split("/")
    return parts[_SESSION_PART] if len(parts) > _SESSION_PART + 1 else None


async def _merged(listings: list[AsyncIterator[ObjectInfo]]) -> AsyncIterator[ObjectInfo]:
    """Sorted by name, as each of them is."""
    heads: list[tuple[str, int, ObjectInfo]] = []
    for number, listing in enumerate(listings):
        async for first in listing:
            heads.append((first.name, number, first))
            break
    heapq.heapify(heads)
    while heads:
        _, number, info = heads[0]
        yield info
        following = await anext(listings[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.name, number, following))


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """A database that is away makes a recording wait, as a store that is away does."""
    try:
        yield
    except _AWAY as failure:
        raise StoreUnavailable(f"where the recording is cannot be looked up: {_said(failure)}") from None


@contextlib.contextmanager
def _key_errors() -> Iterator[None]:
    try:
        yield
    except _AWAY as failure:
        raise KeyUnavailable(f"under which key the recording is cannot be looked up: {_said(failure)}") from None


def _said(failure: Exception) -> str:
    # What a driver says may hold an address with a password in it.
    return str(failure) if isinstance(failure, DatabaseUnavailable) else "the database fails"

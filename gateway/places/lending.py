"""Things with connections, made when somebody needs them and kept for the next one, a bounded number of them."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from recorder.aws import Client

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Entry(Generic[V]):
    thing: V
    clients: Sequence[Client]
    users: int = 0


class Lending(Generic[K, V]):
    """Belongs to one event loop. `make` connects nothing: clients do that when they are first used."""

    def __init__(self, make: Callable[[K], tuple[V, Sequence[Client]]], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def using(self, key: K) -> AsyncIterator[V]:
        """What `key` stands for. It isn't closed while anybody uses it, whatever the bound. Raises as `make`."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(*self._make(key))
        self._entries.move_to_end(key)
        entry.users += 1
        try:
            yield entry.thing
        finally:
            entry.users -= 1
            await self._make_room()

    async def close(self) -> None:
        while self._entries:
            await _close(self._entries.popitem()[1])

    async def _make_room(self) -> None:
        while len(self._entries) > self._limit:
            idle = next((key for key, entry in self._entries.items() if not entry.users), None)
            if idle is None:
                return
            await _close(self._entries.pop(idle))


async def _close(entry: _Entry[V]) -> None:
    for client in entry.clients:
        await client.__aexit__()

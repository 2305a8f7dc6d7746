"""Something of a provider's that is fetched when it is needed and too old, by one caller at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from gateway.identity.oidc.errors import ProviderUnavailable
from gateway.identity.ports import Clock

T = TypeVar("T")

# Those who wait while a provider hangs get the answer of the first one, not a wait of their own each.
_FAILURE_STANDS_FOR = timedelta(seconds=5)


class Fetched(Generic[T]):
    """`fetch` raises ProviderUnavailable."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._latest: tuple[T, datetime] | None = None
        self._failure: tuple[str, datetime] | None = None

    @property
    def latest(self) -> T | None:
        """What was fetched last, however old; None: nothing yet."""
        return self._latest[0] if self._latest else None

    async def get(self, maximum_age: timedelta) -> T:
        """What is younger than `maximum_age`, fetched if need be. Raises ProviderUnavailable."""
        async with self._lock:
            if self._latest and self._is_younger(self._latest[1], maximum_age):
                return self._latest[0]
            if self._failure and self._is_younger(self._failure[1], _FAILURE_STANDS_FOR):
                raise ProviderUnavailable(self._failure[0])
            try:
                self._latest = await self._fetch(), self._clock()
            except ProviderUnavailable as error:
                self._failure = str(error), self._clock()
                raise
            self._failure = None
            return self._latest[0]

    def _is_younger(self, moment: datetime, age: timedelta) -> bool:
        # A clock that was set back makes everything old: asking once more does no harm.
        return timedelta() <= self._clock() - moment < age

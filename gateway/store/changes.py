"""Wake-ups: who waits for a thing to change is told that it did, and then reads the database.

A wake-up carries no news of its own and may be missed (another replica made the change and the way between them is
down): waiters poll as well.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator


class Changes:
    """Topics are ids ("oi-…", "s-…") or names of kinds ("sessions")."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._tell_replicas: Callable[[tuple[str, ...]], None] | None = None

    def connect(self, tell_replicas: Callable[[tuple[str, ...]], None]) -> None:
        """From now on other replicas are told, too. It must not fail or block."""
        self._tell_replicas = tell_replicas

    def publish(self, *topics: str) -> None:
        """Wakes whoever subscribed, here and elsewhere. Call it after the commit (`Transaction.after_commit`)."""
        self.wake(*topics)
        if self._tell_replicas is not None:
            self._tell_replicas(topics)

    def wake_all(self) -> None:
        """Something may have been missed."""
        self.wake(*self._waiting)

    def wake(self, *topics: str) -> None:
        """Wakes whoever subscribed here."""
        for topic in topics:
            for waiter in self._waiting.get(topic, ()):
                waiter.set()

    @contextlib.contextmanager
    def subscribe(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change. Clear it **before** reading, or a change can slip in between."""
        waiter = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(waiter)
        try:
            yield waiter
        finally:
            for topic in topics:
                self._waiting[topic].discard(waiter)
                if not self._waiting[topic]:
                    del self._waiting[topic]

"""Wake-ups: who waits for a thing to change is told that it did, and then reads the database.

A wake-up carries no news of its own and may be missed (another replica made the change): waiters poll as well.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator


class Changes:
    """Topics are ids ("oi-…", "s-…") or names of kinds ("sessions")."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def publish(self, *topics: str) -> None:
        """Wakes whoever subscribed. Call it after the commit (`Transaction.after_commit`)."""
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

"""What an event sink is: one small class."""

from collections.abc import Sequence
from typing import Protocol

from notifiers.events.model import PublishedEvent


class EventSink(Protocol):
    """Takes events for programs: a webhook, EventBridge, standard output, or a third party's.

    Events come at least once, those about one subject in order; one that comes again has the same id.
    """

    at_once: int
    """How many events `put` takes in one call."""
    concurrency: int
    """How many calls of `put` may run, never two with events about one subject."""

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        """Those that were not taken, and may be tried again; none at best.

        Raises TryAgain when none was taken, Undeliverable when these never will be.
        """

    async def check(self) -> str:
        """What works, in one line, for `jit doctor`; sends no event. Raises NotDelivered."""

    async def close(self) -> None:
        """Gives everything back. Nothing is put afterwards."""

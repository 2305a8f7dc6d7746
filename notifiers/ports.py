"""What a channel is: one small class."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from notifiers.model import Delivery, Receipt


class Notifier(Protocol):
    """Brings notices to people by one channel: Slack, Teams, email, or a third party's.

    At most `concurrency` deliveries run at once, never two about one request for one recipient; they come in
    order. A delivery may come again after a crash, with the same id: where the service has a way to tell, nothing
    is said twice.
    """

    concurrency: int
    """How many deliveries may run at once. A service that limits its rate is left alone by raising TryAgain with
    `after`: no delivery of this channel begins until then."""

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Raises TryAgain or Undeliverable. It is cancelled when it takes longer than 30 s."""

    async def check(self) -> str:
        """What works, in one line, for `jit doctor`: talks to the service, tells nobody. Raises NotDelivered."""

    async def close(self) -> None:
        """Gives everything back. Nothing is delivered afterwards."""


@runtime_checkable
class Addressed(Protocol):
    """A notifier that knows a wrong address when it sees it: a watcher with such a one stops the start."""

    def check_address(self, address: Mapping[str, str]) -> None:
        """Asks nobody. Raises Undeliverable."""

"""A gateway's people, nodes and policies, a channel that writes down what it is given, and the workers' parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.access.model import AccessRequest
from gateway.notices.carriers import NoticeCarrier, SinkCarrier
from gateway.notices.delivering import Deliverer
from gateway.notices.expanding import ChannelPlan, Expander, SinkPlan
from gateway.notices.planning import Watcher
from gateway.store import contacts
from gateway.store.contacts import Contact
from notifiers.events.model import PublishedEvent
from notifiers.model import Delivery, Receipt
from tests.gateway.access.conftest import ready, world  # noqa: F401 - fixtures
from tests.gateway.access.world import World

CHAT = "chat"


@dataclass
class Pad:
    """A notifier whose service is a list. `trouble` is raised, one after the other, before anything is taken."""

    concurrency: int = 2
    taken: list[Delivery] = field(default_factory=list)
    tries: int = 0
    trouble: list[Exception] = field(default_factory=list)
    always: Callable[[], Exception] | None = None
    deleted: list[Mapping[str, str]] = field(default_factory=list)

    async def deliver(self, delivery: Delivery) -> Receipt:
        self.tries += 1
        if self.always:
            raise self.always()
        if self.trouble:
            raise self.trouble.pop(0)
        self.taken.append(delivery)
        if delivery.first and delivery.first not in self.deleted:
            return Receipt(delivery.first)
        return Receipt({"message": f"{len(self.taken)}"})

    async def check(self) -> str:
        return "there"

    async def close(self) -> None:
        """Nothing."""

    def told(self) -> list[tuple[str, str]]:
        """Whom of what."""
        return [
            (one.recipient.user_id or one.recipient.address["place"], one.notice.kind.value) for one in self.taken
        ]


@dataclass
class Log:
    """A sink that is a list."""

    at_once: int = 10
    concurrency: int = 1
    events: list[PublishedEvent] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    tries: int = 0
    trouble: list[Exception] = field(default_factory=list)

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        self.tries += 1
        if self.trouble:
            raise self.trouble.pop(0)
        self.events += [event for event in events if event.type not in self.refuses]
        return [event for event in events if event.type in self.refuses]

    async def check(self) -> str:
        return "there"

    async def close(self) -> None:
        """Nothing."""


class Desk:
    """One replica's workers, step by step."""

    def __init__(self, on: World, pad: Pad | None = None, *, replica: str = "one", **plan: object) -> None:
        self.world = on
        self.pad = pad or Pad()
        self.log = Log()
        self.plan = ChannelPlan(CHAT, CHAT, **plan)  # type: ignore[arg-type]  # what a test wants
        database, clock, changes = on.database, on.clock, on.changes
        self.expander = Expander(database, clock, changes, [self.plan], [SinkPlan("events/log", ("access_",))])
        self.expander.public_url = "https://gate.example"
        self.deliverer = Deliverer(
            database, clock, changes, CHAT, NoticeCarrier(database, self.pad, CHAT), replica=replica
        )
        self.sender = Deliverer(database, clock, changes, "events/log", SinkCarrier(self.log), replica=replica)

    async def reach(self, *user_ids: str) -> None:
        async with self.world.database.transaction() as tx:
            for user_id in user_ids:
                address = {"id": f"U-{user_id}"}
                contact = Contact(user_id, CHAT, address["id"], address, "link", self.world.clock())
                await contacts.put(tx.connection, contact)

    async def work(self) -> list[tuple[str, str]]:
        """Everything that is due now; whom it told of what."""
        before = len(self.pad.taken)
        while await self.expander.expand():
            pass
        while await self.deliverer.deliver():
            pass
        while await self.sender.deliver():
            pass
        return self.pad.told()[before:]

    async def approve(self, request: AccessRequest, *user_ids: str) -> None:
        for user_id in user_ids:
            await self.world.requests.approve(await self.world.caller(user_id), request.life.id, "fine")


@pytest.fixture
async def desk(ready: World) -> Desk:  # noqa: F811 - the fixture
    """sam, sue, olga, pete, alice and bob are in the chat."""
    made = Desk(ready, watchers=(Watcher({"place": "#access"}),))
    await made.reach("alice", "bob", "sam", "sue", "olga", "pete")
    await made.work()
    made.pad.taken.clear()
    made.log.events.clear()
    return made

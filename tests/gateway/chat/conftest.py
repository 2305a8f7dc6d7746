"""A small organization with a chat: sam, olga and bob have linked themselves."""

from dataclasses import dataclass, field

import pytest

from gateway.chat.desk import ChatDesk
from gateway.chat.linking import ChatLinks
from gateway.store import events
from gateway.store.events import Event
from notifiers.chat import ChatPerson, Click, Reply
from notifiers.model import Action
from tests.gateway.access.conftest import ready, world  # noqa: F401 - fixtures
from tests.gateway.access.world import World

SLACK = "slack"
TEAMS = "teams"


def person(name: str, *, workspace: str = "T1", is_outsider: bool = False, kind: str = SLACK) -> ChatPerson:
    address = {"workspace": workspace, "user": f"U-{name}"}
    return ChatPerson(kind, f"{workspace}/U-{name}", address, is_outsider)


@dataclass
class Chat:
    world: World
    links: ChatLinks = field(init=False)
    desk: ChatDesk = field(init=False)

    def __post_init__(self) -> None:
        on = self.world
        self.links = ChatLinks(on.database, on.clock, frozenset({SLACK, TEAMS}))
        self.desk = ChatDesk(
            on.database,
            on.clock,
            on.requests,
            on.reader,
            self.links,
            link_to=lambda request_id: f"https://gate.example/requests/{request_id}",
        )

    async def code(self, user_id: str, kind: str = SLACK) -> str:
        return (await self.links.new_code(await self.world.caller(user_id), kind)).code

    async def link(self, *user_ids: str, kind: str = SLACK) -> None:
        for user_id in user_ids:
            code = await self.code(user_id, kind)
            assert await self.links.redeem(person(user_id, kind=kind), code) == user_id

    async def do(self, who: str | ChatPerson, action: Action, request_id: str, **more: object) -> Reply:
        by = person(who) if isinstance(who, str) else who
        return await self.desk.decide(Click(by, request_id, action, **more))  # type: ignore[arg-type]  # a test's

    async def events(self, kind: str) -> list[Event]:
        async with self.world.database.read() as connection:
            found = await events.page(connection, [("*", "*")], events.Filter(type_prefix=kind), 100)
        return [event for _, event in found]


@pytest.fixture
async def chat(ready: World) -> Chat:  # noqa: F811 - the fixture
    made = Chat(ready)
    await made.link("sam", "olga", "bob")
    return made

"""A gateway's desk that Teams talks to, and people who click and write there."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.chat.desk import ChatDesk
from gateway.chat.linking import ChatLinks
from gateway.store import contacts, events
from gateway.store.contacts import Contact
from notifiers.chat import Incoming
from notifiers.teams import TeamsNotifier, TeamsSettings
from notifiers.teams.incoming import KIND
from policy.model import PolicyKind
from tests.gateway.access.world import World, manual
from tests.notifiers.teams.cloud import TENANT, Cloud, activity, identity, running_cloud

PEOPLE = ("alice", "sam", "sue", "olga", "ada")


@dataclass
class Chat:
    world: World
    cloud: Cloud
    notifier: TeamsNotifier
    links: ChatLinks
    desk: ChatDesk

    def click(self, user: str, verb: str, request_id: str, level: Any = 1, **more: Any) -> dict[str, Any]:
        data = {"request": request_id, "level": level, "comment": more.pop("comment", None)}
        action = {"type": "Action.Execute", "verb": verb, "data": data}
        value = {"action": action, "trigger": "manual"}
        return activity(self.cloud, user, type="invoke", name="adaptiveCard/action", value=value, **more)

    async def post(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """What Teams is answered; nothing for what is no click."""
        [endpoint] = self.notifier.endpoints
        headers = {"authorization": f"Bearer {self.cloud.token()}"}
        incoming = Incoming(headers, json.dumps(content).encode())
        await endpoint.prove(incoming)
        outgoing = await endpoint.answer(incoming, self.desk)
        assert outgoing.status == 200
        answer: dict[str, Any] = json.loads(outgoing.body or b"{}")
        assert set(answer) in (set(), {"statusCode", "type", "value"})
        return answer

    async def clicked(self, user: str, verb: str, request_id: str, level: int = 1, **more: Any) -> dict[str, Any]:
        return await self.post(self.click(user, verb, request_id, level, **more))

    async def written(self, user: str, text: str, **more: Any) -> str:
        """What the bot answers."""
        self.cloud.messages.clear()
        await self.post(activity(self.cloud, user, text=text, **more))
        return "".join(message["text"] for message in self.cloud.messages.values())

    async def refusals(self) -> list[str]:
        async with self.world.database.read() as connection:
            found = await events.page(connection, [("*", "*")], events.Filter("chat.refused"), 100)
        return [event.details["reason"] for _, event in reversed(found)]


@contextlib.asynccontextmanager
async def teams_chat(folder: Path) -> AsyncIterator[Chat]:
    """sam and sue are level one for databases, olga and pete level two; all but pete have linked themselves."""
    world = World(folder)
    world.clock.now = datetime.now(UTC)  # tokens are made by another clock
    await world.build()
    await world.put(PolicyKind.MANUAL, manual())
    async with running_cloud() as cloud:
        notifier = TeamsNotifier(TeamsSettings.model_validate(cloud.settings()))
        links = ChatLinks(world.database, world.clock, frozenset({KIND}))
        desk = ChatDesk(
            world.database,
            world.clock,
            world.requests,
            world.reader,
            links,
            link_to=lambda request_id: f"https://gate.example.org/requests/{request_id}",
        )
        async with world.database.transaction() as tx:
            for user in PEOPLE:
                key = f"{TENANT}/{identity(user)}"
                await contacts.put(tx.connection, Contact(user, KIND, key, {}, "link", world.clock()))
        yield Chat(world, cloud, notifier, links, desk)
        await notifier.close()
    await world.database.close()

"""What chat services post to the web listener: proven first, and counted once by all gateways (R30)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.chat.desk import ChatDesk
from gateway.chat.linking import ChatLinks
from gateway.chat.posts import ChatPosts
from gateway.http.chat import routes
from gateway.notices.channels import Channel
from gateway.notices.expanding import ChannelPlan
from gateway.store import events
from notifiers.slack import make
from tests.gateway.access.world import World
from tests.gateway.http.web import Web, running
from tests.notifiers.slack.workspace import Workspace, signed, workspace

pytestmark = [
    pytest.mark.rule("R30"),
    pytest.mark.parametrize("database_server", ["sqlite"], indirect=True),
]


@dataclass
class Posting:
    world: World
    slack: Workspace
    client: httpx.AsyncClient

    async def post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.client.post("/chat/team", content=body, headers=headers)

    async def refusals(self) -> int:
        """So many wrong codes have been seen by the desk."""
        async with self.world.database.read() as connection:
            return len(await events.page(connection, [("*", "*")], events.Filter("chat.refused"), 100))


@pytest.fixture
async def posting(world: World, tmp_path: Path) -> AsyncIterator[Posting]:
    async with workspace() as slack:
        notifier = make(slack.settings(tmp_path))
        channel = Channel(ChannelPlan("team", "slack"), lambda: notifier)
        channel.start()
        links = ChatLinks(world.database, world.clock, frozenset({"slack"}))
        desk = ChatDesk(
            world.database, world.clock, world.requests, world.reader, links, link_to=lambda request_id: request_id
        )
        posts = ChatPosts(world.database, world.clock)
        async with running(Web(world, tmp_path), routes((channel,), desk, posts)) as web:
            yield Posting(world, slack, web.browser().client)
        await notifier.close()


async def test_the_same_post_counts_once(posting: Posting) -> None:
    body, headers = signed(posting.slack.command("link aaaa-bbbb-cccc", "UBOB"))
    assert "no code of this gateway" in (await posting.post(body, headers)).text
    again = await posting.post(body, headers)
    assert (again.status_code, again.json()["error"]) == (401, "NOT_FROM_THERE")
    assert await posting.refusals() == 1


async def test_who_is_not_the_service_reaches_no_desk(posting: Posting) -> None:
    body, headers = signed(posting.slack.command("link aaaa-bbbb-cccc", "UBOB"), secret="another")
    for forged in (headers, {}):
        answer = await posting.post(body, forged)
        assert (answer.status_code, answer.json()["error"]) == (401, "NOT_FROM_THERE")
    assert await posting.refusals() == 0

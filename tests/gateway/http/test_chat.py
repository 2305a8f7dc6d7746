"""What chat services post to the web listener: proven first, and counted once by all gateways (R30)."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from gateway.chat.desk import ChatDesk
from gateway.chat.linking import ChatLinks
from gateway.chat.posts import ChatPosts
from gateway.http.chat import routes
from gateway.notices.channels import Channel
from gateway.notices.expanding import ChannelPlan
from gateway.store import contacts, events
from gateway.store.contacts import Contact
from notifiers.ports import Notifier
from notifiers.slack import make
from notifiers.teams import TeamsNotifier, TeamsSettings
from notifiers.teams.incoming import KIND
from policy.model import PolicyKind
from tests.gateway.access.world import World, manual
from tests.gateway.http.web import Web, running
from tests.notifiers.slack.workspace import Workspace, signed, workspace
from tests.notifiers.teams.cloud import SECRET, TENANT, Cloud, activity, identity, running_cloud

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


@contextlib.asynccontextmanager
async def taking(world: World, folder: Path, kind: str, notifier: Notifier) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who posts to a web listener where the channel `team` is that notifier's."""
    world.clock.now = datetime.now(UTC)  # services sign by another clock
    channel = Channel(ChannelPlan("team", kind), lambda: notifier)
    channel.start()
    links = ChatLinks(world.database, world.clock, frozenset({kind}))
    desk = ChatDesk(
        world.database, world.clock, world.requests, world.reader, links, link_to=lambda request_id: request_id
    )
    posts = ChatPosts(world.database, world.clock)
    async with running(Web(world, folder), routes((channel,), desk, posts)) as web:
        yield web.browser().client
    await notifier.close()


@pytest.fixture
async def posting(world: World, tmp_path: Path) -> AsyncIterator[Posting]:
    async with workspace() as slack:
        notifier = make(slack.settings(tmp_path))
        async with taking(world, tmp_path, "slack", notifier) as client:
            yield Posting(world, slack, client)


@dataclass
class Teams:
    world: World
    cloud: Cloud
    client: httpx.AsyncClient

    def click(self, verb: str, request_id: str, level: int) -> bytes:
        """As Teams sends what sam clicks; each has an id of its own."""
        data = {"request": request_id, "level": level}
        value = {"action": {"type": "Action.Execute", "verb": verb, "data": data}}
        more = {"id": uuid.uuid4().hex, "type": "invoke", "name": "adaptiveCard/action", "value": value}
        return json.dumps(activity(self.cloud, "sam", **more)).encode()

    async def post(self, body: bytes, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return await self.client.post("/chat/team/messages", content=body, headers=headers)


@pytest.fixture
async def teams(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Teams]:
    monkeypatch.setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as cloud:
        notifier = TeamsNotifier(TeamsSettings.model_validate(cloud.settings()))
        async with taking(world, tmp_path, KIND, notifier) as client:
            sam = Contact("sam", KIND, f"{TENANT}/{identity('sam')}", {}, "link", world.clock())
            async with world.database.transaction() as tx:
                await contacts.put(tx.connection, sam)
            await world.put(PolicyKind.MANUAL, manual())
            yield Teams(world, cloud, client)


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


async def test_a_click_that_is_played_back_within_its_token_decides_nothing(teams: Teams) -> None:
    world, token = teams.world, teams.cloud.token()  # Teams sends many activities with one
    request_id = (await world.ask("alice", "db-1")).life.id
    approval, revocation = teams.click("approve", request_id, 1), teams.click("revoke", request_id, 2)

    async def approvals() -> int:
        return len((await world.reader.get(await world.caller("ada"), request_id)).life.approvals)

    assert (await teams.post(approval, token)).status_code == 200
    assert await approvals() == 1
    assert (await teams.post(revocation, token)).status_code == 200
    assert await approvals() == 0
    for minutes in (0, 11, 49):  # the token says an hour
        world.clock.advance(minutes=minutes)
        again = await teams.post(approval, token)
        assert (again.status_code, again.json()["error"]) == (401, "NOT_FROM_THERE")
        assert await approvals() == 0
    assert (await teams.post(teams.click("approve", request_id, 1), token)).status_code == 200
    assert await approvals() == 1

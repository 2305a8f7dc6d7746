"""A request reaches Teams, is decided there and the card becomes the outcome: the gateway's own process."""

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.stage import Stage, stage
from tests.notifiers.teams.cloud import CHANNEL, PERSONAL, SECRET, Cloud, activity, running_cloud, texts
from tests.processes import GatewayProcess

SECONDS = 60


def configured(cloud: Cloud, folder: Path) -> dict[str, str]:
    secret = folder / "teams-secret"
    secret.write_text(SECRET)
    said = cloud.settings(client_secret_file=str(secret))
    del said["client_secret_environment"]
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in said.items())
    watchers = f'watchers = [{{ address = {{ channel = "{CHANNEL}" }} }}]'
    return {"JITGATE_HTTP_LISTEN": "127.0.0.1:0", "JITGATE_NOTIFICATIONS__TEAMS": f"{{ {values}, {watchers} }}"}


class Teams:
    """Brings to the gateway what bob does, as the service would."""

    def __init__(self, cloud: Cloud, on: Stage, url: str) -> None:
        self._cloud = cloud
        self._url = f"{url}/chat/teams/messages"
        self._trusted = ssl.create_default_context(cafile=str(on.gateway.ca_file))

    async def post(self, token: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(verify=self._trusted, trust_env=False, timeout=SECONDS) as client:
            headers = {"Authorization": f"Bearer {token}"}
            return await client.post(self._url, json=activity(self._cloud, "bob", **more), headers=headers)

    async def shown(self, where: str, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The message in that conversation, once there is such a one."""
        async with asyncio.timeout(SECONDS):
            while True:
                for (conversation, _), message in self._cloud.messages.items():
                    if conversation.partition(";")[0] == where and is_it(message):
                        return message
                await asyncio.sleep(0.05)


@pytest.mark.rule("R30")
async def test_a_card_leads_to_a_decision(tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        gateway = GatewayProcess(tmp_path / "gateway", configured(cloud, tmp_path))
        await asyncio.to_thread(gateway.start)
        try:
            with stage(gateway, tmp_path) as on:
                await _through(cloud, on)
        finally:
            await asyncio.to_thread(gateway.stop)
    log = gateway.log.read_text()
    assert SECRET not in log
    assert "token-1" not in log


async def _through(cloud: Cloud, on: Stage) -> None:
    teams = Teams(cloud, on, f"https://{on.gateway.http_address}")
    code = await asyncio.to_thread(lambda: on.bob.call("NoticeService/CreateChatLink", kind="teams")["code"])
    assert (await teams.post("no token", text=code)).status_code == 401
    assert (await teams.post(cloud.token(), text=code)).status_code == 200
    await teams.shown(PERSONAL, lambda message: "You are bob here" in message.get("text", ""))

    request = await asyncio.to_thread(on.alice.request, "db-1", "a **card**")
    asked = await teams.shown(PERSONAL, lambda message: "a **card**" in texts(message))
    await teams.shown(CHANNEL, lambda message: "Show what I can do" in texts(message))
    [approve] = [one for one in asked["attachments"][0]["content"]["actions"] if one.get("verb") == "approve"]
    value = {"action": {**approve, "data": {**approve["data"], "comment": "from my phone"}}, "trigger": "manual"}
    answer = await teams.post(cloud.token(), type="invoke", name="adaptiveCard/action", value=value)
    assert (answer.status_code, answer.json()["statusCode"]) == (200, 200)
    assert "You approved." in answer.text
    assert await asyncio.to_thread(on.alice.status, request["id"]) == "APPROVED"
    for where in (PERSONAL, CHANNEL):
        await teams.shown(where, lambda message: any("from my phone" in text for text in texts(message)))

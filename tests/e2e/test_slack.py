"""A request reaches Slack, is decided there and the message becomes the outcome: the gateway's own process."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.e2e.stage import Stage, stage
from tests.notifiers.slack.workspace import (
    APP_TOKEN,
    BOT_TOKEN,
    CHANNEL,
    SIGNING_SECRET,
    Message,
    Workspace,
    post,
    workspace,
)
from tests.processes import GatewayProcess

SECONDS = 60


@dataclass
class Slack:
    """Brings to the gateway what people do, by the way that is tried."""

    workspace: Workspace
    on: Stage
    is_socket: bool

    async def send(self, payload: dict[str, Any], **how: Any) -> tuple[int, dict[str, Any] | str]:
        if self.is_socket:
            kind = "slash_commands" if "command" in payload else "interactive"
            return 200, await self.workspace.by_socket(kind, payload)
        trusted = ssl.create_default_context(cafile=str(self.on.gateway.ca_file))
        return await post(f"https://{self.on.gateway.http_address}/chat/slack", payload, trusted, **how)

    async def link(self, user: str) -> None:
        code = await asyncio.to_thread(
            lambda: self.on.bob.call("NoticeService/CreateChatLink", kind="slack")["code"]
        )
        said = await self.send(self.workspace.command(f"link {code}", user))
        assert "You are bob here" in str(said)

    async def shown(self, where: str, is_it: Callable[[Message], bool]) -> Message:
        return await until(
            lambda: next((one for one in self.workspace.top() if one.channel == where and is_it(one)), None)
        )

    async def dialog(self, message: Message, button: str, user: str) -> dict[str, Any]:
        before = len(self.workspace.dialogs)
        await self.send(self.workspace.click(message, button, user))
        await until(lambda: len(self.workspace.dialogs) > before)
        return self.workspace.dialogs[-1]


T = TypeVar("T")


async def until(found: Callable[[], T | None]) -> T:
    async with asyncio.timeout(SECONDS):
        while not (value := found()):
            await asyncio.sleep(0.05)
    return value


@contextlib.asynccontextmanager
async def slack(folder: Path, *, is_socket: bool) -> AsyncIterator[Slack]:
    async with workspace() as made:
        said = made.settings(folder, socket=is_socket)
        values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in said.items())
        watchers = f'watchers = [{{ address = {{ channel = "{CHANNEL}" }} }}]'
        environment = {
            "JITGATE_HTTP_LISTEN": "127.0.0.1:0",
            "JITGATE_NOTIFICATIONS__SLACK": f"{{ {values}, {watchers} }}",
        }
        gateway = GatewayProcess(folder / "gateway", environment)
        await asyncio.to_thread(gateway.start)
        try:
            if is_socket:
                await until(lambda: made.sockets)
            with stage(gateway, folder) as on:
                yield Slack(made, on, is_socket)
        finally:
            await asyncio.to_thread(gateway.stop)
        log = gateway.log.read_text()
        assert not any(secret in log for secret in (BOT_TOKEN, APP_TOKEN, SIGNING_SECRET))


@pytest.mark.rule("R30")
@pytest.mark.parametrize("is_socket", [False, True], ids=["http", "socket"])
async def test_a_message_leads_to_a_decision(tmp_path: Path, is_socket: bool) -> None:
    async with slack(tmp_path, is_socket=is_socket) as at:
        if not is_socket:
            status, _ = await at.send(at.workspace.command("link x", "UBOB"), secret="forged")
            assert status == 401
        await at.link("UBOB")
        request = await asyncio.to_thread(at.on.alice.request, "db-1", "a *bold* <!channel>")
        asked = await at.shown("D-UBOB", lambda message: "a *bold* <!channel>" in message.read())
        shown = await at.shown(CHANNEL, lambda message: "Approve" in message.buttons())

        # Somebody whom nobody knows clicks in the channel, and reads why that does nothing.
        refused = await at.dialog(shown, "Approve", "UMALLORY")
        assert "jit link slack" in json.dumps(refused)
        assert await asyncio.to_thread(at.on.alice.status, request["id"]) == "PENDING"

        dialog = await at.dialog(asked, "Approve", "UBOB")
        await at.send(at.workspace.submit(dialog, "from my phone", "UBOB"))
        assert await asyncio.to_thread(at.on.alice.status, request["id"]) == "APPROVED"
        for where in ("D-UBOB", CHANNEL):
            decided = await at.shown(where, lambda message: "from my phone" in message.read())
            assert "Approve" not in decided.buttons()

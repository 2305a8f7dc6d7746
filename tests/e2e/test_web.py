"""A request is mailed, its link opened, and decided on the page: the gateway's own process, a real mail server."""

import asyncio
import html
import json
import re
import ssl
from pathlib import Path

import httpx
import pytest

from tests.e2e.stage import Stage, stage
from tests.notifiers.email.servers import PASSWORD, USER, MailServer, mail_server
from tests.processes import GatewayProcess

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def configured(server: MailServer, folder: Path) -> dict[str, str]:
    secret = folder / "smtp-password"
    secret.write_text(PASSWORD)
    return {
        "JITGATE_HTTP_LISTEN": "127.0.0.1:0",
        "JITGATE_NOTIFICATIONS__EMAIL": (
            f'{{ host = "127.0.0.1", port = {server.port}, ca_file = "{server.pem}", '
            f'sender = "jitgate@example.org", username = "{USER}", password_file = "{secret}", '
            'watchers = [{ address = { email = "approvers@example.org" } }] }'
        ),
    }


async def decide(on: Stage, link: str) -> str:
    """bob follows the link, signs in and approves; the page that he sees then."""
    trusted = ssl.create_default_context(cafile=str(on.gateway.ca_file))
    async with httpx.AsyncClient(verify=trusted, trust_env=False, follow_redirects=True, timeout=30) as browser:

        async def send(page: httpx.Response, path: str, **typed: str) -> httpx.Response:
            fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(page.text)}
            return await browser.post(page.url.join(path), data=fields | typed)

        page = await browser.get(link)
        assert page.url.path == "/sign-in"
        page = await send(page, "/sign-in/password", user="bob", password=on.bob.password)
        assert str(page.url) == link
        page = await send(page, page.url.path, decision="approve", comment="from my phone")
        return page.text


@pytest.mark.rule("R30")
async def test_a_mail_leads_to_a_decision(tmp_path: Path) -> None:
    async with mail_server(tmp_path) as server:
        gateway = GatewayProcess(tmp_path / "gateway", configured(server, tmp_path))
        await asyncio.to_thread(gateway.start)
        try:
            with stage(gateway, tmp_path) as on:
                request = await asyncio.to_thread(on.alice.request, "db-1", "a <b>mail</b>")
                mail = await _mailed(server, "asks for access")
                link = re.search(r"https://\S+", mail)
                assert link is not None
                assert request["id"] in link[0]
                assert "a <b>mail</b>" in mail
                page = await decide(on, link[0])
                assert "bob approved" in page
                assert "from my phone" in page
                assert await asyncio.to_thread(on.alice.status, request["id"]) == "APPROVED"
                await _mailed(server, "Approved: alice")
                first = server.mails()[0]["Message-ID"]
                assert {mail["References"] for mail in server.mails()[1:]} == {first}
        finally:
            await asyncio.to_thread(gateway.stop)
    log = gateway.log.read_text()
    assert PASSWORD not in log
    served = [json.loads(line) for line in log.splitlines() if '"jitgate.http"' in line]
    assert {line["route"] for line in served} >= {"/requests/{id}", "/sign-in", "/sign-in/password"}


async def _mailed(server: MailServer, words: str) -> str:
    """The text of the mail that says so, once it is there."""
    async with asyncio.timeout(30):
        while True:
            for mail in server.mails():
                body = mail.get_body(("plain",))
                assert body is not None
                text: str = body.get_content()
                if words in text:
                    return text
            await asyncio.sleep(0.05)

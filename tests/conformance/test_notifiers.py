"""Our notifiers, each with its real server or stand-in, under the suite that all have to pass."""

import contextlib
import io
import json
import re
import runpy
import unicodedata
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiohttp import web

from notifiers.console import Console, ConsoleSettings
from notifiers.email import EmailNotifier
from notifiers.ports import Notifier
from notifiers.slack import make as make_slack
from notifiers.standard_output import Writer
from notifiers.teams import TeamsNotifier, TeamsSettings
from tests.conformance.notifiers import *  # noqa: F403 - the tests
from tests.conformance.notifiers import Bench, Maker, Shown, opened
from tests.notifiers.email.servers import PASSWORD, MailServer, mail_server
from tests.notifiers.email.test_email import signed_in_at
from tests.notifiers.slack import workspace as workspaces
from tests.notifiers.teams.cloud import CHANNEL, SECRET, Cloud, identity, running_cloud, texts
from tests.notifiers.told import AT


class Pipe(io.StringIO):
    is_broken = False

    def take(self, data: bytes) -> None:
        if self.is_broken:
            raise BrokenPipeError("nobody reads")
        self.write(data.decode())


@dataclass
class Terminal:
    notifier: Notifier
    stream: Pipe
    address: dict[str, str] = field(default_factory=lambda: {"place": "here"})
    nowhere: dict[str, str] | None = None
    secrets: tuple[str, ...] = ()
    updates: bool = False
    recognizes: bool = False

    def shown(self) -> list[Shown]:
        return [Shown(text) for text in self.stream.getvalue().split("To ") if text]

    def is_inert(self, text: str) -> bool:
        """Lines break where we break them, and nothing moves the cursor or turns the text round."""
        kept = text.replace("\n", "")
        return not any(unicodedata.category(character) == "Cc" for character in kept) and "\u202e" not in kept

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        self.stream.is_broken = True
        yield
        self.stream.is_broken = False


@dataclass
class Mailbox:
    notifier: Notifier
    server: MailServer
    address: dict[str, str] = field(default_factory=lambda: {"email": "bob@example.org"})
    nowhere: dict[str, str] | None = field(default_factory=lambda: {"email": "gone@example.org"})
    secrets: tuple[str, ...] = (PASSWORD,)
    updates: bool = False
    recognizes: bool = True

    def shown(self) -> list[Shown]:
        """Mailboxes show a mail that came twice once."""
        mails = {mail["Message-ID"]: mail for mail in self.server.mails()}
        return [
            Shown(f"{mail['Subject']}\n{body(mail, 'plain')}\n{body(mail, 'html')}") for mail in mails.values()
        ]

    def is_inert(self, text: str) -> bool:
        [mail] = self.server.mails()
        headers = [name.lower() for name in mail]
        assert len(headers) == len(set(headers))
        assert "bcc" not in headers
        rich = body(mail, "html")
        return "<img src=x" not in rich and "evil.example|here>" not in rich and "\u202e" not in text

    def down(self) -> AbstractAsyncContextManager[None]:
        return self.server.down()


@dataclass
class TeamsChat:
    notifier: Notifier
    cloud: Cloud
    address: dict[str, str]
    nowhere: dict[str, str] | None
    secrets: tuple[str, ...] = (SECRET, "token-1")
    updates: bool = True
    recognizes: bool = False

    def shown(self) -> list[Shown]:
        return [
            Shown("\n".join(texts(message)), self.cloud.updates.get(key, 0))
            for key, message in self.cloud.messages.items()
        ]

    def is_inert(self, text: str) -> bool:
        """What people wrote stands in text runs, which know no markup, and nothing is a mention."""
        [message] = self.cloud.messages.values()
        [attachment] = message["attachments"]
        kinds = {element["type"] for element in attachment["content"]["body"]}
        return (
            kinds <= {"RichTextBlock", "Input.Text"}
            and "text" not in message
            and "entities" not in message
            and "entities" not in attachment["content"]["msteams"]
            and "{{" not in text
            and "\u202e" not in text
        )

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        self.cloud.is_down = True
        yield
        self.cloud.is_down = False


def body(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


@contextlib.asynccontextmanager
async def terminal(_request: pytest.FixtureRequest, _folder: Path) -> AsyncIterator[Bench]:
    stream = Pipe()
    yield Terminal(Console(ConsoleSettings(), Writer(stream.take)), stream)


@contextlib.asynccontextmanager
async def mailbox(_request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Bench]:
    async with mail_server(folder) as server:
        server.refuses["gone@example.org"] = "550 no such user"
        yield Mailbox(EmailNotifier(signed_in_at(server, folder)), server)


@contextlib.asynccontextmanager
async def teams_channel(request: pytest.FixtureRequest, _folder: Path) -> AsyncIterator[Bench]:
    request.getfixturevalue("monkeypatch").setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as cloud:
        notifier = TeamsNotifier(TeamsSettings.model_validate(cloud.settings()))
        address, nowhere = {"channel": CHANNEL}, {"channel": "19:deleted@thread.tacv2"}
        yield TeamsChat(notifier, cloud, address, nowhere)


@contextlib.asynccontextmanager
async def teams_person(request: pytest.FixtureRequest, _folder: Path) -> AsyncIterator[Bench]:
    request.getfixturevalue("monkeypatch").setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as cloud:
        notifier = TeamsNotifier(TeamsSettings.model_validate(cloud.settings()))
        nowhere = {**cloud.person(), "conversation": "a:gone"}
        yield TeamsChat(notifier, cloud, cloud.person(), nowhere)


@contextlib.asynccontextmanager
async def teams_vouched(request: pytest.FixtureRequest, _folder: Path) -> AsyncIterator[Bench]:
    """Of whom the identity provider says who they are in Teams; they never wrote there."""
    request.getfixturevalue("monkeypatch").setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as cloud:
        notifier = TeamsNotifier(TeamsSettings.model_validate(cloud.settings()))
        address = cloud.vouched("vera")
        yield TeamsChat(notifier, cloud, address, {**address, "user": identity("nobody")})


@dataclass
class SlackBench:
    notifier: Notifier
    workspace: workspaces.Workspace
    address: dict[str, str] = field(default_factory=lambda: {"channel": workspaces.CHANNEL})
    nowhere: dict[str, str] | None = field(default_factory=lambda: {"channel": "C0GONE"})
    secrets: tuple[str, ...] = (workspaces.BOT_TOKEN, workspaces.SIGNING_SECRET)
    updates: bool = True
    recognizes: bool = True

    def shown(self) -> list[Shown]:
        return [Shown(message.read(), message.updates) for message in self.workspace.top()]

    def is_inert(self, text: str) -> bool:
        """Nothing is read as markup but the line for notifications, and that is escaped."""
        [message] = self.workspace.top()
        marked = '"mrkdwn"' in json.dumps(message.content["blocks"])
        return not marked and "<" not in message.content["text"] and "\u202e" not in text

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        self.workspace.is_down = True
        yield
        self.workspace.is_down = False


@contextlib.asynccontextmanager
async def slack(_request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Bench]:
    async with workspaces.workspace() as made:
        made.clock = AT.timestamp
        yield SlackBench(make_slack(made.settings(folder)), made)


@dataclass
class PagerService:
    """Keeps what is put, under the path that it is put to."""

    notifier: Notifier
    messages: dict[str, str]
    standing: list[bool]
    address: dict[str, str] = field(default_factory=lambda: {"pager": "555"})
    nowhere: dict[str, str] | None = field(default_factory=lambda: {"pager": "nobody"})
    secrets: tuple[str, ...] = ()
    updates: bool = False
    recognizes: bool = True

    def shown(self) -> list[Shown]:
        return [Shown(text) for text in self.messages.values()]

    def is_inert(self, text: str) -> bool:
        """It is shown as it came."""
        kept = text.replace("\n", "")
        return not any(unicodedata.category(character) == "Cc" for character in kept) and "\u202e" not in kept

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        self.standing.clear()
        yield
        self.standing.append(True)


@contextlib.asynccontextmanager
async def pager(_request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Bench]:
    """The example of docs/plugins.md, as it stands there."""
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    [source] = re.findall(r'^```python\n("""pager\.py.*?)^```$', page, re.MULTILINE | re.DOTALL)
    (folder / "pager.py").write_text(source)
    make_pager = runpy.run_path(str(folder / "pager.py"))["make"]
    messages, standing = dict[str, str](), [True]

    async def answer(request: web.BaseRequest) -> web.Response:
        if not standing:
            return web.Response(status=503)
        if request.method == "PUT":
            messages[request.path] = await request.text()
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield PagerService(make_pager({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), messages, standing)
    finally:
        await runner.cleanup()


MAKERS: list[Maker] = [terminal, mailbox, slack, teams_channel, teams_person, teams_vouched, pager]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in opened(request, tmp_path):
        yield made

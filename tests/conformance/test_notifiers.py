"""Our notifiers, each with its real server or stand-in, under the suite that all have to pass."""

import contextlib
import io
import unicodedata
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import pytest

from notifiers.console import Console, ConsoleSettings
from notifiers.email import EmailNotifier
from notifiers.ports import Notifier
from tests.conformance.notifiers import *  # noqa: F403 - the tests
from tests.conformance.notifiers import Bench, Maker, Shown, opened
from tests.notifiers.email.servers import PASSWORD, MailServer, mail_server
from tests.notifiers.email.test_email import signed_in_at


class Pipe(io.StringIO):
    is_broken = False

    def write(self, text: str) -> int:
        if self.is_broken:
            raise BrokenPipeError("nobody reads")
        return super().write(text)


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
        mails = {mail["Message-ID"]: mail for mail in self.server.mails}
        return [
            Shown(f"{mail['Subject']}\n{body(mail, 'plain')}\n{body(mail, 'html')}") for mail in mails.values()
        ]

    def is_inert(self, text: str) -> bool:
        [mail] = self.server.mails
        headers = [name.lower() for name in mail]
        assert len(headers) == len(set(headers))
        assert "bcc" not in headers
        rich = body(mail, "html")
        return "<img src=x" not in rich and "evil.example|here>" not in rich and "\u202e" not in text

    def down(self) -> AbstractAsyncContextManager[None]:
        return self.server.down()


def body(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


@contextlib.asynccontextmanager
async def terminal(_request: pytest.FixtureRequest, _folder: Path) -> AsyncIterator[Bench]:
    stream = Pipe()
    yield Terminal(Console(ConsoleSettings(), stream), stream)


@contextlib.asynccontextmanager
async def mailbox(_request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Bench]:
    async with mail_server(folder) as server:
        server.refuses["gone@example.org"] = "550 no such user"
        yield Mailbox(EmailNotifier(signed_in_at(server, folder)), server)


MAKERS: list[Maker] = [terminal, mailbox]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in opened(request, tmp_path):
        yield made

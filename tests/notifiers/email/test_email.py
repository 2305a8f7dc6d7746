"""Mails as a real server gets them, and servers that fail."""

import asyncio
import email.utils
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError
from structlog.testing import capture_logs

from notifiers.email import EmailNotifier, EmailSettings
from notifiers.email import notifier as notifier_module
from notifiers.email.settings import is_address
from notifiers.errors import NotDelivered, TryAgain, Undeliverable, Unusable
from notifiers.model import NoticeKind, Relation
from notifiers.ports import Notifier
from tests.notifiers.email.liar import liar
from tests.notifiers.email.servers import PASSWORD, USER, MailServer, mail_server
from tests.notifiers.told import AT, EMOJI, HOSTILE, delivery


def settings(**more: Any) -> EmailSettings:
    return EmailSettings.model_validate({"host": "127.0.0.1", "sender": "jitgate@example.org"} | more)


def signed_in_at(server: MailServer, folder: Path, **more: Any) -> EmailSettings:
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    return settings(
        port=server.port,
        username=USER,
        password_file=secret,
        ca_file=server.pem,
        **({"security": "starttls"} | more),
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with mail_server(tmp_path) as running:
        yield running


@pytest.fixture
def notifier(server: MailServer, tmp_path: Path) -> EmailNotifier:
    return EmailNotifier(signed_in_at(server, tmp_path))


class Text(HTMLParser):
    """What a page shows, and where it leads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attributes if name in {"href", "src"}]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def bodies(mail: EmailMessage) -> tuple[str, Text]:
    plain, rich = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert rich is not None
    return plain.get_content(), Text(rich.get_content())


@pytest.mark.rule("R30")
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_mail_arrives_over_tls(tmp_path: Path, security: str) -> None:
    async with mail_server(tmp_path, implicit_tls=security == "tls") as server:
        notifier = EmailNotifier(signed_in_at(server, tmp_path, security=security, reply_to="help@example.org"))
        receipt = await notifier.deliver(delivery())
        assert str(server.port) in await notifier.check()
    [mail] = server.mails()
    assert server.envelopes == [("jitgate@example.org", ["bob@example.org"])]
    assert (mail["From"], mail["To"], mail["Reply-To"]) == (
        "Jitgate <jitgate@example.org>",
        "bob@example.org",
        "help@example.org",
    )
    assert mail["Subject"] == "[Jitgate] alice: access to db-1 (oi-3cdf121b337b)"
    assert email.utils.parsedate_to_datetime(mail["Date"]) == AT
    assert (mail["Auto-Submitted"], mail["In-Reply-To"], mail["References"]) == ("auto-generated", None, None)
    assert receipt.reference == {"message_id": mail["Message-ID"]}
    assert re.fullmatch(r"<[0-9a-f]{40}@example\.org>", mail["Message-ID"])
    plain, rich = bodies(mail)
    for told in ("alice asks for access to db-1", "Your decision is needed at level 1 of 2", "Reason"):
        assert told in plain
        assert told in "".join(rich.words)
    link = "https://gate.example.org/requests/oi-3cdf121b337b"
    assert link in plain
    assert rich.links == [link]
    assert "Look at it and decide" in plain
    assert mail.get_content_type() == "multipart/alternative"
    assert all(len(line) <= 998 for line in server.received[0].split(b"\r\n"))
    assert server.received[0].isascii()


async def test_later_mails_answer_the_first(notifier: EmailNotifier, server: MailServer) -> None:
    first = await notifier.deliver(delivery())
    assert first.reference is not None
    reference = dict(first.reference)
    second = await notifier.deliver(delivery(NoticeKind.APPROVED, event=8, first=reference, level=0))
    third = await notifier.deliver(delivery(NoticeKind.EXPIRED, event=9, first=reference, level=0))
    assert second.reference == third.reference == reference
    one, two, three = server.mails()
    assert one["Message-ID"] == two["References"] == two["In-Reply-To"] == three["References"]
    assert two["Subject"] == f"Re: {one['Subject']}"
    assert len({mail["Message-ID"] for mail in server.mails()}) == 3
    plain, _ = bodies(two)
    assert "Approved: alice's access to db-1" in plain
    assert "Look at it and decide" not in plain


async def test_the_same_delivery_is_the_same_mail(notifier: EmailNotifier, server: MailServer) -> None:
    """It may come again after a crash: mailboxes know it by its id."""
    assert await notifier.deliver(delivery()) == await notifier.deliver(delivery())
    one, two = server.mails()
    assert one["Message-ID"] == two["Message-ID"]
    plain = [bodies(mail)[0] for mail in (one, two)]
    assert plain[0] == plain[1]


@pytest.mark.rule("R30")
@pytest.mark.parametrize("reason", [HOSTILE, EMOJI, "</div></body>{{ 7*7 }}&amp;", "x" * 256, "مرحبا " * 30])
async def test_what_people_wrote_stays_text(notifier: EmailNotifier, server: MailServer, reason: str) -> None:
    await notifier.deliver(delivery(reason=reason, requester_name=reason[:128], node_name=f"n{reason[:40]}"))
    [mail] = server.mails()
    assert mail["Bcc"] is None
    assert list(mail.keys()).count("To") == 1
    plain, rich = bodies(mail)
    for told in (plain, "".join(rich.words)):
        assert "49" not in told or "7*7" not in reason
        assert "\u202e" not in told
        if reason != HOSTILE:
            assert reason.strip() in told
        else:
            assert "[U+202E]gnp.exe <img src=x onerror=alert(1)> <!channel> @everyone" in told
    assert not rich.tags & {"img", "script", "iframe", "form", "link", "input"}
    assert rich.links == ["https://gate.example.org/requests/oi-3cdf121b337b"]


async def test_without_pages_a_mail_names_the_command(notifier: EmailNotifier, server: MailServer) -> None:
    told = delivery()
    await notifier.deliver(replace(told, notice=replace(told.notice, link="")))
    plain, rich = bodies(server.mails()[0])
    assert "jit approve oi-3cdf121b337b" in plain
    assert rich.links == []


@pytest.mark.parametrize(
    "address",
    [
        {},
        {"email": ""},
        {"email": "bob"},
        {"email": "bob@example.org\r\nBcc: eve@example.org"},
        {"email": "bob@example.org, eve@example.org"},
        {"email": "Bob <bob@example.org>"},
        {"email": "bob@example.org\n"},
        {"email": "bob@ex ample.org"},
        {"email": '"a b"@example.org'},
        {"email": "böb@example.org"},
        {"email": "bob@-example.org"},
        {"email": "b..b@example.org"},
        {"email": f"{'b' * 65}@example.org"},
        {"email": f"bob@{'e.' * 130}org"},
        {"slack": "U1"},
    ],
)
async def test_addresses_that_are_none_get_nothing(
    notifier: EmailNotifier, server: MailServer, address: dict[str, str]
) -> None:
    told = delivery()
    with pytest.raises(Undeliverable):
        await notifier.deliver(replace(told, recipient=replace(told.recipient, address=address)))
    assert server.received == []


@pytest.mark.parametrize("address", ["a@b", "o'neil+jit@mail.example.co.uk", "1@127.0.0.1"])
def test_addresses_that_are_some(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize("first", ["<x>\r\nBcc: eve@example.org", "a b", "<<x>>", "ü@x"])
async def test_a_reference_lets_nothing_into_a_header(
    notifier: EmailNotifier, server: MailServer, first: str
) -> None:
    await notifier.deliver(delivery(first={"message_id": first}))
    [mail] = server.mails()
    assert mail["Bcc"] is None
    assert (mail["References"] or "") == ""


async def test_no_name_of_anything_makes_a_header(notifier: EmailNotifier, server: MailServer) -> None:
    hostile = "x\r\nBcc: eve@example.org\r\n\r\nhello"
    await notifier.deliver(
        delivery(request_id=hostile, requester=hostile, requester_name=hostile, node_id=hostile, node_name=hostile)
    )
    [mail] = server.mails()
    assert mail["Bcc"] is None
    assert mail["X-Jitgate-Request"] == "x  Bcc: eve@example.org    hello"
    assert [recipients for _, recipients in server.envelopes] == [["bob@example.org"]]


async def test_encoded_words_stay_what_somebody_wrote(
    notifier: EmailNotifier, server: MailServer, tmp_path: Path
) -> None:
    """An operator's subject may hold the reason, which anybody may write."""
    (tmp_path / "email").mkdir()
    (tmp_path / "email" / "subject.txt").write_text("{{ facts[1].value }}")
    notifier = EmailNotifier(signed_in_at(server, tmp_path, templates_dir=tmp_path))
    await notifier.deliver(delivery(reason="=?utf-8?q?x=0D=0ABcc:_eve@example.org=0D=0A=0D=0Ahello=E2=80=AE?="))
    [mail] = server.mails()
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("= ?utf-8?q?x")
    assert mail["To"] == "bob@example.org"


@pytest.mark.parametrize(("answer", "outcome"), [("450 busy", TryAgain), ("550 no such user", Undeliverable)])
async def test_a_refused_recipient(
    notifier: EmailNotifier, server: MailServer, answer: str, outcome: type[NotDelivered]
) -> None:
    server.refuses["bob@example.org"] = answer
    with pytest.raises(outcome, match=answer[:3]):
        await notifier.deliver(delivery())
    assert server.received == []


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"HELLO": "421 later"}, TryAgain),
        ({"HELLO": ""}, TryAgain),
        ({"HELLO": "HTTP/1.1 200 OK"}, TryAgain),
        ({"MAIL": "451 later"}, TryAgain),
        ({"MAIL": "553 not you"}, Undeliverable),
        ({"RCPT": "452 full"}, TryAgain),
        ({"RCPT": ""}, TryAgain),
        ({"DATA": "554 no"}, Undeliverable),
        ({"TAKEN": "451 later"}, TryAgain),
        ({"TAKEN": "552 too much"}, Undeliverable),
        ({"TAKEN": ""}, TryAgain),  # it took the mail, and is gone: nobody knows
        ({"TAKEN": "\x00\xff nonsense"}, TryAgain),
    ],
)
async def test_what_servers_say_no_with(answers: dict[str, str | None], outcome: type[NotDelivered]) -> None:
    async with liar(**answers) as server:
        notifier = EmailNotifier(settings(port=server.port, security="none"))
        with pytest.raises(outcome):
            await notifier.deliver(delivery())


@pytest.mark.parametrize("goodbye", ["", None])
async def test_a_server_that_drops_or_falls_silent_after_it_has_taken_the_mail_has_it(
    goodbye: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "_PARTING_SECONDS", 0.2)
    async with liar(QUIT=goodbye) as server:
        notifier = EmailNotifier(settings(port=server.port, security="none"))
        receipt = await notifier.deliver(delivery())
        assert receipt.reference is not None
        assert receipt.reference["message_id"].encode() in server.data[0]


async def test_a_server_that_falls_silent_is_given_up() -> None:
    async with liar(TAKEN=None) as server:
        notifier = EmailNotifier(settings(port=server.port, security="none", timeout_seconds=1))
        with pytest.raises(TryAgain):
            await notifier.deliver(delivery())


async def test_a_server_that_is_not_there() -> None:
    notifier = EmailNotifier(settings(port=9, security="none"))
    for ask in (notifier.deliver(delivery()), notifier.check()):
        with pytest.raises(TryAgain, match=r"127\.0\.0\.1:9"):
            await ask


async def test_a_certificate_that_is_not_trusted_gets_no_mail(server: MailServer, tmp_path: Path) -> None:
    said = signed_in_at(server, tmp_path).model_copy(update={"ca_file": None})
    with pytest.raises(TryAgain, match=r"(?i)certificate"):
        await EmailNotifier(said).deliver(delivery())
    assert server.received == []


async def test_no_tls_no_mail() -> None:
    """Somebody in between takes STARTTLS out of what the server says that it can."""
    async with liar() as server:
        with pytest.raises(TryAgain):
            await EmailNotifier(settings(port=server.port)).deliver(delivery())
        assert server.data == []


async def test_a_wrong_password_can_be_mended(server: MailServer, tmp_path: Path) -> None:
    notifier = EmailNotifier(signed_in_at(server, tmp_path))
    (tmp_path / "password").write_text("hunter2 wrong")
    with capture_logs() as logs, pytest.raises(TryAgain) as refused:
        await notifier.deliver(delivery())
    (tmp_path / "password").write_text(PASSWORD)
    await notifier.deliver(delivery())
    (tmp_path / "password").unlink()
    with pytest.raises(TryAgain, match="can't be read"):
        await notifier.deliver(delivery())
    for secret in ("hunter2", PASSWORD):
        assert secret not in f"{refused.value} {logs} {notifier!r} {notifier._settings!r}"


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for wrong in (
        {"security": "none", "host": "mail.example.org"},
        {"sender": "Jitgate <jitgate@example.org>"},
        {"sender": "x@y\r\nBcc: z"},
        {"sender_name": "a\nb"},
        {"username": "u"},
        {"password_file": "/x"},
        {"username": "u", "password_file": "/x", "password_environment": "X"},
        {"password": "inline"},
        {"timeout_seconds": 60},
        {"templates_dir": tmp_path / "gone"},
    ):
        with pytest.raises(ValidationError):
            settings(**wrong)
    for unusable in (
        {"username": "u", "password_file": tmp_path / "gone"},
        {"username": "u", "password_environment": "JITGATE_TEST_NOT_SET"},
        {"ca_file": tmp_path / "gone"},
        {"dkim": {"domain": "example.org", "selector": "s", "key_file": tmp_path / "gone"}},
    ):
        with pytest.raises(Unusable):
            EmailNotifier(settings(**unusable))


def test_a_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITGATE_TEST_PASSWORD", "hunter2")
    said = settings(username="u", password_environment="JITGATE_TEST_PASSWORD")
    found = said.password()
    assert found is not None
    assert found.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(found) + repr(said) + said.model_dump_json()


async def test_a_mail_is_signed(server: MailServer, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    file = tmp_path / "dkim.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    signing = {"domain": "example.org", "selector": "jit", "key_file": file}
    await EmailNotifier(signed_in_at(server, tmp_path, dkim=signing)).deliver(delivery(reason=EMOJI))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    record = "v=DKIM1; k=rsa; p=" + "".join(pem.splitlines()[1:-1])

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"jit._domainkey.example.org."
        return record.encode()

    [raw] = server.received
    assert dkim.verify(raw, dnsfunc=look_up)
    for change in ((b"alice", b"mally"), (b"<jitgate@example.org>", b"<eve@example.org>")):
        assert not dkim.verify(raw.replace(*change, 1), dnsfunc=look_up)
    file.write_text("no key")
    with pytest.raises(Unusable):
        EmailNotifier(signed_in_at(server, tmp_path, dkim=signing))


async def test_operators_replace_templates_and_their_faults_lose_nothing(
    server: MailServer, tmp_path: Path
) -> None:
    own = tmp_path / "templates" / "email"
    own.mkdir(parents=True)
    (own / "subject.txt").write_text("Zugriff\r\nBcc: eve@example.org {{ node }}")
    (own / "message.html").write_text("<p>{{ facts[1].value }}</p>")
    (own / "message.txt").write_text("{{ nothing.of.that.name }}")
    notifier = EmailNotifier(signed_in_at(server, tmp_path, templates_dir=tmp_path / "templates"))
    await notifier.deliver(delivery(reason="<b>now</b>"))
    [mail] = server.mails()
    assert mail["Subject"] == "Zugriff Bcc: eve@example.org db-1"
    assert mail["Bcc"] is None
    plain, rich = bodies(mail)
    assert "".join(rich.words).strip() == "<b>now</b>"
    assert "alice asks for access to db-1" in plain  # ours, instead of the one that failed


async def test_every_kind_makes_a_mail(notifier: EmailNotifier, server: MailServer) -> None:
    for relation in Relation:
        await asyncio.gather(*(notifier.deliver(delivery(kind, relation, level=0)) for kind in NoticeKind))
    assert len(server.mails()) == len(NoticeKind) * len(Relation)
    for mail in server.mails():
        plain, _ = bodies(mail)
        assert "db-1" in plain


def test_it_is_a_notifier() -> None:
    made: Notifier = EmailNotifier(settings(security="none"))
    assert made.concurrency == 4

"""Webhooks: signed so that a receiver can tell, by one secret or two, and what becomes of refusals."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.events.model import PublishedEvent
from notifiers.events.webhook import WebhookSettings, WebhookSink, sign
from tests.notifiers.events.receiver import Receiver, receiving

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
OLD, NEW = bytes(range(24)), bytes(range(64))
EVENT = PublishedEvent("evt-1", "session.started", NOW, "s-00000000000000000001", "alice entered web-1")


def secret_file(folder: Path, name: str, secret: bytes, prefix: str = "whsec_") -> Path:
    file = folder / name
    file.write_text(prefix + base64.b64encode(secret).decode())
    return file


@dataclass
class Hooked:
    receiver: Receiver
    sink: WebhookSink
    folder: Path


@pytest.fixture
async def hooked(tmp_path: Path) -> AsyncIterator[Hooked]:
    async with receiving(OLD, NOW.timestamp()) as receiver:
        settings = WebhookSettings(url=receiver.url, secret_files=(secret_file(tmp_path, "one", OLD),))
        sink = WebhookSink(settings, "//here", lambda: NOW)
        yield Hooked(receiver, sink, tmp_path)
        await sink.close()


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that Standard Webhooks publishes with its libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_secret_is_changed_without_a_gap(hooked: Hooked) -> None:
    await hooked.sink.put([EVENT])
    both = (secret_file(hooked.folder, "new", NEW, prefix=""), hooked.folder / "one")
    sink = WebhookSink(WebhookSettings(url=hooked.receiver.url, secret_files=both), "//here", lambda: NOW)
    await sink.put([EVENT])
    hooked.receiver.secret = NEW
    await sink.put([EVENT])
    assert len(hooked.receiver.events) == 3
    secret_file(hooked.folder, "one", NEW)  # the file alone, and no restart
    await hooked.sink.put([EVENT])
    assert len(hooked.receiver.events) == 4
    await sink.close()


async def test_a_receiver_with_another_secret_or_clock_takes_nothing(hooked: Hooked) -> None:
    hooked.receiver.secret = NEW
    with pytest.raises(TryAgain, match="answered 401"):
        await hooked.sink.put([EVENT])
    hooked.receiver.secret, hooked.receiver.now = OLD, NOW.timestamp() + 301
    with pytest.raises(TryAgain, match="answered 401"):
        await hooked.sink.put([EVENT])


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
async def test_what_is_not_taken_is_tried_again(hooked: Hooked, status: int) -> None:
    headers = {"retry-after": "7", "location": hooked.receiver.url}
    hooked.receiver.answers.append(web.Response(status=status, headers=headers))
    with pytest.raises(TryAgain, match=str(status)) as refused:
        await hooked.sink.put([EVENT])
    assert refused.value.after == 7
    assert "secret" not in str(refused.value)
    assert len(hooked.receiver.requests) == 1


@pytest.mark.parametrize("value", ["-1", "soon", "9" * 40, "\u0663", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
async def test_a_time_to_wait_that_is_none_is_let_pass(hooked: Hooked, value: str) -> None:
    hooked.receiver.answers.append(web.Response(status=503, headers={"retry-after": value}))
    with pytest.raises(TryAgain) as refused:
        await hooked.sink.put([EVENT])
    assert refused.value.after is None


async def test_a_receiver_that_is_gone_is_not_tried_again(hooked: Hooked) -> None:
    hooked.receiver.answers.append(web.Response(status=410, body=b"x" * 100_000))
    with pytest.raises(Undeliverable, match="410"):
        await hooked.sink.put([EVENT])


async def test_a_secret_that_is_gone_delays_and_says_so(hooked: Hooked) -> None:
    (hooked.folder / "one").unlink()
    with pytest.raises(TryAgain, match="cannot be signed"):
        await hooked.sink.put([EVENT])
    assert not hooked.receiver.requests


@pytest.mark.parametrize("text", ["", "whsec_!!!", "whsec_" + "A" * 28, "whsec_" + "A" * 2000, "whsec_\u00e9"])
def test_secrets_that_are_none_are_refused_and_never_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with pytest.raises(Unusable) as refused:
        WebhookSink(
            WebhookSettings(url="https://hooks.example/x", secret_files=(tmp_path / "secret",)),
            "//here",
            lambda: NOW,
        )
    assert "https://hooks.example" in str(refused.value)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hooks.example/x"},
        {"url": "ftp://hooks.example/x"},
        {"url": "https://user:password@hooks.example/x"},
        {"url": "https://"},
        {"url": "https://[::1"},
        {"url": "https://hooks.example/" + "x" * 2000},
        {"secret_files": []},
        {"secret_files": ["a", "b", "c"]},
        {"secret_files": ["a", "a"]},
        {"timeout_seconds": 0},
        {"secret": "whsec_x"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings.model_validate({"url": "https://hooks.example/x", "secret_files": ["a"], **wrong})

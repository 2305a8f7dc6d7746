"""A watcher that nothing could ever be told to stops the start, instead of making each notice a dead letter."""

from typing import Any

import pytest

from gateway.notices.channels import BadChannel, open_channels
from gateway.notices.settings import ChannelSettings

EMAIL = {"host": "127.0.0.1", "security": "none", "sender": "jitgate@example.org"}
SLACK = {"workspace": "T0JITGATE", "bot_token_environment": "A_SECRET", "app_token_environment": "A_SECRET"}
TEAMS = {
    "app_id": "11111111-1111-1111-1111-111111111111",
    "tenant_id": "22222222-2222-2222-2222-222222222222",
    "client_secret_environment": "A_SECRET",
}
KINDS = {"email": EMAIL, "slack": SLACK, "teams": TEAMS}
PERSON = "33333333-3333-3333-3333-333333333333"


async def opened(kind: str, address: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "xoxb-of-the-tests")
    said: dict[str, Any] = {**KINDS[kind], "watchers": [{"address": address}]}
    channels = open_channels({kind: ChannelSettings.model_validate(said)}, {}, source="//here")
    await channels.close()


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("email", {"email": "platform-team@example.org"}),
        ("slack", {"channel": "C0123ABCD"}),
        ("slack", {"workspace": "T0JITGATE", "user": "U012"}),
        ("teams", {"channel": "19:0123456789abcdef@thread.tacv2"}),
        ("teams", {"channel": "19:Ab_c-9@thread.skype"}),
        ("teams", {"workspace": TEAMS["tenant_id"], "user": PERSON}),
        ("teams", {"service_url": "https://smba.example/", "conversation": "a:1"}),
    ],
)
async def test_places_that_can_be(kind: str, address: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    await opened(kind, address, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "address", "why"),
    [
        ("email", {"mail": "platform-team@example.org"}, "no mail address"),
        ("email", {"email": "Platform <platform-team@example.org>"}, "no mail address"),
        ("slack", {"chanel": "C0123ABCD"}, "neither a channel nor"),
        ("slack", {"channel": "#access"}, "named by its id, such as C0123ABCD"),  # could be told, never changed
        ("slack", {"workspace": "T0OTHER", "user": "U012"}, "neither a channel nor"),
        ("teams", {"chanel": "19:0123456789abcdef@thread.tacv2"}, "neither a channel nor"),
        ("teams", {"channel": "General"}, "named by its id, such as 19:"),
        ("teams", {"workspace": PERSON, "user": PERSON}, "another tenant"),
    ],
)
async def test_places_that_can_not_be(
    kind: str, address: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadChannel, match=rf"\[notifications\.{kind}\]: watchers\.0\.address: .*{why}"):
        await opened(kind, address, monkeypatch)


async def test_a_channel_that_can_not_be_used_now_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "email", EMAIL | {"ca_file": "/nowhere.pem", "security": "tls"})
    await opened("email", {"mail": "platform-team@example.org"}, monkeypatch)

"""Who is believed to be the Bot Framework: forged, foreign and old tokens."""

import base64
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from notifiers.chat import Incoming, NotFromThere
from notifiers.teams import TeamsSettings
from notifiers.teams.bot_tokens import BotTokens
from notifiers.teams.service import ConnectorService
from notifiers.teams.signing_keys import SigningKeys
from tests.notifiers.teams.cloud import ISSUER, SECRET, Cloud, activity, running_cloud


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    ]
    return ".".join((*parts, signature))


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass
class Chat:
    cloud: Cloud
    now: float
    tokens: BotTokens = field(init=False)

    async def is_believed(self, token: str, **more: Any) -> bool:
        body = json.dumps(activity(self.cloud, "sam", **more)).encode()
        try:
            await self.tokens.prove(Incoming({"authorization": f"Bearer {token}"}, body))
        except NotFromThere:
            return False
        return True


@pytest.fixture
async def chat(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chat]:
    monkeypatch.setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as cloud:
        settings = TeamsSettings.model_validate(cloud.settings())
        service, made = ConnectorService(settings), Chat(cloud, time.time())
        keys = SigningKeys(service.document, settings.metadata_url, settings.issuer, lambda: made.now)
        made.tokens = BotTokens(settings, keys, lambda: made.now)
        yield made
        await service.close()


async def test_only_tokens_for_this_bot_and_this_service_are_believed(chat: Chat) -> None:
    cloud = chat.cloud
    assert await chat.is_believed(cloud.token())
    assert not await chat.is_believed(".")
    assert not await chat.is_believed("x" * 10_000)
    assert not await chat.is_believed(cloud.token(iss="https://sts.windows.net/x/"))
    assert not await chat.is_believed(cloud.token(aud="99999999-2222-3333-4444-555555555555"))
    assert not await chat.is_believed(cloud.token(aud=[]))
    assert not await chat.is_believed(cloud.token(serviceurl="https://evil.example/"))
    assert not await chat.is_believed(cloud.token(serviceurl=None))
    assert not await chat.is_believed(cloud.token(), serviceUrl="https://evil.example/")
    assert not await chat.is_believed(cloud.token(), channelId="emulator")


async def test_five_minutes_of_skew_and_no_more(chat: Chat) -> None:
    cloud, now = chat.cloud, chat.now
    assert await chat.is_believed(cloud.token(exp=now - 290))
    assert not await chat.is_believed(cloud.token(exp=now - 301))
    assert await chat.is_believed(cloud.token(nbf=now + 290))
    assert not await chat.is_believed(cloud.token(nbf=now + 310))
    for wrong in (None, "soon", True):
        assert not await chat.is_believed(cloud.token(exp=wrong))
        assert not await chat.is_believed(cloud.token(nbf=wrong))


async def test_forged_signatures_are_worth_nothing(chat: Chat) -> None:
    good = chat.cloud.token()
    claims = claims_of(good)
    assert not await chat.is_believed(unsigned({"alg": "none", "kid": "key-1"}, claims))
    # Signed with the public key, as if it were a shared secret.
    signed = unsigned({"alg": "HS256", "kid": "key-1"}, claims).rpartition(".")[0]
    for public in (chat.cloud.keys["key-1"].as_pem(private=False), chat.cloud.keys["key-1"].as_der(private=False)):
        digest = hmac.digest(public, signed.encode(), "sha256")
        mac = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert not await chat.is_believed(f"{signed}.{mac}")
    head, _, signature = good.split(".")
    other = unsigned({}, {**claims, "exp": claims["exp"] + 1}).split(".")[1]
    assert not await chat.is_believed(f"{head}.{other}.{signature}")
    assert not await chat.is_believed(unsigned({"alg": "RS256", "kid": "key-1"}, claims, signature))
    for header in ({"alg": "RS256"}, {"alg": "RS256", "kid": 7}, {"alg": ["RS256"], "kid": "key-1"}):
        assert not await chat.is_believed(unsigned(header, claims, signature))


async def test_a_key_must_speak_for_teams(chat: Chat) -> None:
    assert await chat.is_believed(chat.cloud.token())
    chat.cloud.add_key("key-2", [])
    chat.cloud.add_key("key-3", ["directline"])
    chat.now += 60
    assert not await chat.is_believed(chat.cloud.token("key-2"))
    assert not await chat.is_believed(chat.cloud.token("key-3"))
    assert await chat.is_believed(chat.cloud.token())
    chat.cloud.add_key("key-4", ["emulator", "msteams"])
    chat.now += 60
    assert await chat.is_believed(chat.cloud.token("key-4"))
    assert not await chat.is_believed(chat.cloud.token("key-4"), channelId="emulator")


@pytest.mark.parametrize(
    "said", [{"use": "enc"}, {"alg": "PS256"}, {"kty": "EC"}, {"kid": 7}, {"n": "AQAB"}, {"n": 1}]
)
async def test_keys_for_something_else_prove_nothing(chat: Chat, said: dict[str, Any]) -> None:
    chat.cloud.add_key("key-2")
    chat.cloud.said_of_keys["key-2"] = said
    assert not await chat.is_believed(chat.cloud.token("key-2"))
    assert await chat.is_believed(chat.cloud.token())


async def test_short_keys_prove_nothing(chat: Chat) -> None:
    with warnings.catch_warnings(action="ignore"):  # of just that
        chat.cloud.keys["key-2"] = RSAKey.generate_key(1024, {"kid": "key-2"})
        token = chat.cloud.token("key-2")
        chat.cloud.endorsements["key-2"] = ["msteams"]
        assert not await chat.is_believed(token)
    assert await chat.is_believed(chat.cloud.token())


async def test_keys_of_another_issuer_prove_nothing(chat: Chat) -> None:
    chat.cloud.issuer = "https://issuer.example"
    assert not await chat.is_believed(chat.cloud.token())
    chat.cloud.issuer = ISSUER
    assert await chat.is_believed(chat.cloud.token())


async def test_keys_change_and_are_found(chat: Chat) -> None:
    assert await chat.is_believed(chat.cloud.token())
    chat.cloud.add_key("key-4")
    chat.now += 60
    assert await chat.is_believed(chat.cloud.token("key-4"))
    old = chat.cloud.token()
    del chat.cloud.keys["key-1"]
    chat.now += 660
    assert not await chat.is_believed(old)


async def test_keys_are_not_asked_for_by_every_stranger(chat: Chat) -> None:
    header = {"alg": "RS256", "kid": "invented"}
    for _ in range(5):
        assert not await chat.is_believed(unsigned(header, {}, "AAAA"))
    assert len([one for one in chat.cloud.asked if one.endswith("/keys")]) == 1


async def test_without_keys_nobody_is_believed(chat: Chat) -> None:
    chat.cloud.is_down = True
    assert not await chat.is_believed(chat.cloud.token())
    chat.cloud.is_down = False
    assert await chat.is_believed(chat.cloud.token())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 60_000, b'{"type":"message"}', b'{"type":' + b'{"a":' * 10_000, b"\xff\xfe"],
)
async def test_what_is_no_activity_is_refused_before_anything_else(chat: Chat, body: bytes) -> None:
    with pytest.raises(NotFromThere, match="no activity"):
        await chat.tokens.prove(Incoming({"authorization": f"Bearer {chat.cloud.token()}"}, body))
    assert chat.cloud.asked == []

"""Microsoft's side, over HTTP on the loopback: the login, the metadata of tokens, and Teams' connector service.

It refuses what the real ones refuse, as published: unknown and ended tokens, conversations without the bot, cards
that are too large or have what Teams does not show, messages in what is no conversation any more.
"""

import contextlib
import functools
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

APP = "11111111-2222-3333-4444-555555555555"
TENANT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "a~secret.of-the_bot"
CHANNEL = "19:abcdef0123456789@thread.tacv2"
PERSONAL = "a:1-personal-chat"
USER = "29:1-user"
ISSUER = "https://api.botframework.com"

_ELEMENTS = frozenset({"RichTextBlock", "TextRun", "Input.Text", "TextBlock", "FactSet", "Container"})
_CARD_BYTES = 28 << 10
_ACTIVITY_BYTES = 40 << 10
_BUTTONS = 6
_VIEWERS = 60


@dataclass
class Cloud:
    url: str = ""
    answers: list[web.Response | None] = field(default_factory=list)
    """Given by the connector service one after the other, before it works; None: this once it works."""
    is_down: bool = False
    secret: str = SECRET
    token_seconds: int = 3600
    tokens: dict[str, float] = field(default_factory=dict)
    """Those that were given, and until when (as `now` counts)."""
    now: float = 0.0
    conversations: set[str] = field(default_factory=lambda: {CHANNEL, PERSONAL})
    installed: dict[str, str] = field(default_factory=dict)
    """Who has the app, by their object id, and their conversation with the bot."""
    left: set[str] = field(default_factory=set)
    """Conversations that the bot was removed from."""
    messages: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    updates: dict[tuple[str, str], int] = field(default_factory=dict)
    keys: dict[str, RSAKey] = field(default_factory=dict)
    endorsements: dict[str, list[str]] = field(default_factory=dict)
    said_of_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What else is said of each."""
    issuer: str = ISSUER
    """Whose keys they are, as the metadata say."""
    asked: list[str] = field(default_factory=list)
    _count: int = 0

    @property
    def service_url(self) -> str:
        return f"{self.url}/teams/"

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "app_id": APP,
            "tenant_id": TENANT,
            "client_secret_environment": "TEAMS_TEST_SECRET",
            "service_url": self.service_url,
            "login_url": f"{self.url}/login",
            "metadata_url": f"{self.url}/v1/.well-known/openidconfiguration",
            "insecure_loopback": True,
            **more,
        }

    def person(self) -> dict[str, str]:
        return {"conversation": PERSONAL, "service_url": self.service_url, "user": USER}

    def vouched(self, user: str) -> dict[str, str]:
        """The address of somebody who has the app but never wrote to it, as the identity provider claims it."""
        self.installed[identity(user)] = f"a:{user}"
        return {"workspace": TENANT, "user": identity(user)}

    def add_key(self, name: str, endorsements: list[str] | None = None) -> RSAKey:
        key = self.keys[name] = _key(name)
        self.endorsements[name] = ["msteams"] if endorsements is None else endorsements
        return key

    def token(self, key: str = "key-1", *, lifetime: float = 3600, **claims: Any) -> str:
        """As the Bot Framework sends with each activity."""
        now = time.time()
        said = {
            "iss": ISSUER,
            "aud": APP,
            "serviceurl": self.service_url,
            "nbf": int(now),
            "exp": int(now + lifetime),
        }
        return jwt.encode({"alg": "RS256", "kid": key, "typ": "JWT"}, said | claims, self.keys[key])

    # The parts of the service

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        self.asked.append(f"{request.method} {path}")
        if self.is_down:
            return web.Response(status=503)
        if path == f"/login/{TENANT}/oauth2/v2.0/token":
            return self._login(parse_qs((await request.read()).decode()))
        if path == "/v1/.well-known/openidconfiguration":
            algorithms = ["RS256"]
            return web.json_response(
                {
                    "issuer": self.issuer,
                    "jwks_uri": f"{self.url}/v1/.well-known/keys",
                    "id_token_signing_alg_values_supported": algorithms,
                }
            )
        if path == "/v1/.well-known/keys":
            keys = [
                {**key.as_dict(private=False), "endorsements": self.endorsements[name]}
                | self.said_of_keys.get(name, {})
                for name, key in self.keys.items()
            ]
            return web.json_response({"keys": keys})
        if path.startswith("/teams/v3/conversations"):
            return await self._connector(request, path.removeprefix("/teams/v3/conversations"))
        return web.Response(status=404)

    def _login(self, form: dict[str, list[str]]) -> web.Response:
        wanted = {
            "grant_type": ["client_credentials"],
            "client_id": [APP],
            "client_secret": [self.secret],
            "scope": [f"{ISSUER}/.default"],
        }
        if form != wanted:
            problem = {"error": "invalid_client", "error_description": f"AADSTS7000215: {form}"}
            return web.json_response(problem, status=401)
        token = f"token-{len(self.tokens) + 1}"
        self.tokens[token] = self.now + self.token_seconds
        return web.json_response({"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": token})

    async def _connector(self, request: web.BaseRequest, path: str) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0.0) <= self.now:
            return _problem(401, "Unauthorized", "Authorization has been denied for this request.")
        if self.answers and (given := self.answers.pop(0)) is not None:
            return given
        body = await request.read()
        if len(body) > _ACTIVITY_BYTES:
            return _problem(413, "MessageSizeTooBig", "Message size too large.")
        document = json.loads(body)
        if path == "" and request.method == "POST":
            assert document["bot"] == {"id": f"28:{APP}"}
            assert document["tenantId"] == document["channelData"]["tenant"]["id"] == TENANT
            return self._begin_thread(document) if document["isGroup"] else self._begin_chat(document)
        found = re.fullmatch(r"/([^/]+)/activities(?:/([^/]+))?", path)
        assert found is not None, path
        conversation, message = (unquote(part or "") for part in found.groups())
        if conversation.partition(";")[0] not in self.conversations:
            return _problem(404, "ConversationNotFound", "Conversation not found.")
        if conversation.partition(";")[0] in self.left:
            return _problem(403, "BotNotInConversationRoster", "The bot is not part of the conversation roster.")
        if (why := _flaw(document)) is not None:
            return why
        if request.method == "PUT":
            if (conversation, message) not in self.messages:
                return _problem(404, "ActivityNotFound", "Activity not found.")
            self.messages[conversation, message] = document
            self.updates[conversation, message] = self.updates.get((conversation, message), 0) + 1
            return web.json_response({"id": message})
        return web.json_response({"id": self._keep(conversation, document)}, status=201)

    def _begin_chat(self, document: dict[str, Any]) -> web.Response:
        """The same one as often as it is asked for."""
        assert set(document) == {"isGroup", "bot", "members", "tenantId", "channelData"}
        if len(document["members"]) != 1:
            return _problem(400, "BadSyntax", "Incorrect conversation creation parameters")
        [member] = document["members"]
        if member["id"] not in self.installed:
            why = "Bot is not installed in user's personal scope"
            return _problem(403, "ForbiddenOperationException", why)
        conversation = self.installed[member["id"]]
        self.conversations.add(conversation)
        return web.json_response({"id": conversation}, status=201)

    def _begin_thread(self, document: dict[str, Any]) -> web.Response:
        channel = document["channelData"]["channel"]["id"]
        if channel not in self.conversations:
            return _problem(404, "ConversationNotFound", "Conversation not found.")
        if channel in self.left:
            return _problem(403, "BotNotInConversationRoster", "The bot is not part of the conversation roster.")
        if (why := _flaw(document["activity"])) is not None:
            return why
        conversation = f"{channel};messageid={self._count + 1}"
        message = self._keep(conversation, document["activity"])
        return web.json_response({"id": conversation, "activityId": message}, status=201)

    def _keep(self, conversation: str, document: dict[str, Any]) -> str:
        self._count += 1
        self.messages[conversation, str(self._count)] = document
        return str(self._count)

    def delete(self, reference: Any) -> None:
        """As a person does it."""
        del self.messages[reference["conversation"], reference["activity"]]


def identity(user: str) -> str:
    """The object id in the tenant's directory."""
    return f"00000000-0000-0000-0000-{user.encode().hex():0>12}"


def activity(cloud: Cloud, user: str, **more: Any) -> dict[str, Any]:
    """As Teams sends it, of that user in the personal chat with the bot."""
    return {
        "type": "message",
        "id": "1700000000000",
        "channelId": "msteams",
        "serviceUrl": cloud.service_url,
        "from": {"id": f"29:{user}", "name": user, "aadObjectId": identity(user)},
        "recipient": {"id": "28:bot", "name": "Jitgate"},
        "conversation": {"id": PERSONAL, "conversationType": "personal", "tenantId": TENANT},
        "channelData": {"tenant": {"id": TENANT}},
        **more,
    }


@functools.cache  # a key is slow to make
def _key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


def _flaw(activity: dict[str, Any]) -> web.Response | None:
    """What Teams refuses, or would show to nobody."""
    if activity.get("type") != "message":
        return _problem(400, "BadSyntax", "Unknown activity type.")
    for attachment in activity.get("attachments", []):
        if attachment["contentType"] != "application/vnd.microsoft.card.adaptive":
            return _problem(400, "BadSyntax", "Unknown attachment type.")
        card = attachment["content"]
        if len(json.dumps(card, ensure_ascii=False).encode("utf-16-le", "surrogatepass")) > _CARD_BYTES:
            return _problem(413, "MessageSizeTooBig", "Message size too large.")
        viewers = card.get("refresh", {}).get("userIds", [])
        sound = (
            card["type"] == "AdaptiveCard"
            and card["version"] in {"1.4", "1.5"}
            and len(card.get("actions", [])) <= _BUTTONS
            and len(viewers) <= _VIEWERS
            and all(element["type"] in _ELEMENTS for element in _elements(card["body"]))
        )
        if not sound:
            return _problem(400, "BadSyntax", "The card is none.")
    if not activity.get("attachments") and not activity.get("text"):
        return _problem(400, "BadSyntax", "Activity must include text or attachments.")
    return None


def _elements(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [element for part in content for element in _elements(part)]
    inner = [element for value in content.values() if isinstance(value, list) for element in _elements(value)]
    return [content, *inner]


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def texts(activity: dict[str, Any]) -> list[str]:
    """What a reader sees, element by element."""
    seen = [activity.get("text", ""), activity.get("summary", "")]
    for attachment in activity.get("attachments", []):
        elements = _elements(attachment["content"]["body"])
        seen += [element["text"] for element in elements if "text" in element]
        seen += [action["title"] for action in attachment["content"]["actions"]]
    return [text for text in seen if text]


@contextlib.asynccontextmanager
async def running_cloud() -> AsyncIterator[Cloud]:
    cloud = Cloud()
    cloud.add_key("key-1")
    runner = web.ServerRunner(web.Server(cloud.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield cloud
    await runner.cleanup()

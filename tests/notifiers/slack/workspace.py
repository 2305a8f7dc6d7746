"""Slack's side, over HTTP and WebSocket on the loopback: the Web API, signed requests, Socket Mode.

It refuses what Slack refuses, as published: wrong tokens, blocks and texts beyond their limits, channels that are
archived or not there, messages that were deleted, triggers older than three seconds; and it gives up on an answer
after three seconds, as Slack does.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import math
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml
from aiohttp import web

WORKSPACE = "T0JITGATE"
BOT_TOKEN = "xoxb-of-the-tests-1234567890"
APP_TOKEN = "xapp-1-of-the-tests-1234567890"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL = "C0ACCESS"
COMMAND = "/jitgate"
ACKNOWLEDGE_SECONDS = 3.0

MANIFEST = Path(__file__).parents[3] / "deploy" / "slack" / "manifest.yaml"
SCOPES = {
    "chat.postMessage": {"chat:write"},
    "chat.update": {"chat:write"},
    "chat.postEphemeral": {"chat:write"},
    "conversations.open": {"im:write"},
}
"""What a bot's token needs for a method, as published. The other methods need none, or one by the channel."""
READING = {"C": "channels:history", "G": "groups:history", "D": "im:history"}
"""What it needs to read messages, by the kind of channel."""

_AT_ONCE = 5
_BLOCKS = 50
_MODAL_BLOCKS = 100
_HEADER = 150
_BUTTON_TEXT = 75
_BUTTON_VALUE = 2000
_URL = 3000
_PRIVATE = 3000
_TITLE = 24
_TEXT = 40_000
_BLOCKS_LENGTH = 13_200  # of their JSON: published nowhere, but met
_METADATA = 8_000
_ELEMENTS = 25
_PLAIN_INPUT = 3000


class Refusal(Exception):
    """Slack's `error` of an answer that is not ok."""


@dataclass
class Message:
    channel: str
    ts: str
    content: dict[str, Any]
    thread: str = ""
    updates: int = 0

    def read(self) -> str:
        """All that a person reads, without what Slack shows only in notifications."""
        return "\n".join(_read(self.content.get("blocks", [])))

    def buttons(self) -> dict[str, dict[str, Any]]:
        found = [
            one
            for block in self.content.get("blocks", [])
            if block["type"] == "actions"
            for one in block["elements"]
        ]
        return {one["text"]["text"]: one for one in found}


@dataclass
class Workspace:
    url: str = ""
    is_down: bool = False
    is_paced: bool = False
    """Whether it takes only as many new messages as published: one a second and channel, and a few at once."""
    breaks_after: int | None = None
    """So many calls work from now on before it is down."""
    answers: list[web.Response] = field(default_factory=list)
    """Given one after the other before anything works again."""
    archived: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    messages: dict[tuple[str, str], Message] = field(default_factory=dict)
    whispers: list[tuple[str, str, str]] = field(default_factory=list)
    dialogs: list[dict[str, Any]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    connections: int = 0
    scopes: frozenset[str] = field(
        default_factory=lambda: frozenset(yaml.safe_load(MANIFEST.read_text())["oauth_config"]["scopes"]["bot"])
    )
    """Of the bot's token: what the app's manifest asks for."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970, by which messages get their timestamps."""
    calls: list[str] = field(default_factory=list)
    _acknowledged: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _triggers: dict[str, float] = field(default_factory=dict)
    _last: int = 0
    _paid_until: dict[str, float] = field(default_factory=dict)
    _counter: Any = field(default_factory=lambda: itertools.count(1))

    def settings(self, folder: Path, *, socket: bool = False, **more: Any) -> dict[str, Any]:
        (folder / "bot").write_text(BOT_TOKEN)
        (folder / "way").write_text(APP_TOKEN if socket else SIGNING_SECRET)
        way = {("app_token_file" if socket else "signing_secret_file"): str(folder / "way")}
        api = {"api_url": f"{self.url}/api/", "insecure_loopback": True}
        return {"workspace": WORKSPACE, "bot_token_file": str(folder / "bot"), **way, **api, **more}

    # What people see

    def top(self) -> list[Message]:
        return [message for message in self.messages.values() if not message.thread]

    def thread(self, of: Message) -> list[Message]:
        return [message for message in self.messages.values() if message.thread == of.ts]

    # What people do

    def said(self, content: dict[str, Any], channel: str = CHANNEL, thread: str = "") -> Message:
        """A new message there, of the app or of anybody."""
        self._last = max(round(self.clock() * 1e6), self._last + 1)
        ts = f"{self._last // 10**6}.{self._last % 10**6:06d}"
        made = self.messages[channel, ts] = Message(channel, ts, content, thread)
        return made

    def click(self, message: Message, button: str, user: str, *, team: str = WORKSPACE) -> dict[str, Any]:
        """The payload of a click."""
        trigger = f"{next(self._counter)}.{uuid.uuid4().hex}"
        self._triggers[trigger] = time.monotonic()
        action = {
            key: value for key, value in message.buttons()[button].items() if key in {"action_id", "value", "type"}
        }
        return {
            "type": "block_actions",
            "team": {"id": WORKSPACE, "domain": "tests"},
            "user": {"id": user, "team_id": team, "name": user.lower()},
            "channel": {"id": message.channel, "name": "access"},
            "message": {"ts": message.ts, "type": "message"},
            "container": {"type": "message", "channel_id": message.channel, "message_ts": message.ts},
            "trigger_id": trigger,
            "actions": [{**action, "block_id": "decide", "action_ts": f"{time.time():.6f}"}],
            "api_app_id": "A0JITGATE",
            "is_enterprise_install": False,
        }

    def submit(self, dialog: dict[str, Any], comment: str, user: str, *, team: str = WORKSPACE) -> dict[str, Any]:
        """The payload of a dialog that is sent off."""
        view: dict[str, Any] = {**dialog, "id": "V1", "hash": "1.a", "team_id": WORKSPACE}
        view["state"] = {
            "values": {"comment": {"comment": {"type": "plain_text_input", "value": comment or None}}}
        }
        return {
            "type": "view_submission",
            "team": {"id": WORKSPACE, "domain": "tests"},
            "user": {"id": user, "team_id": team, "name": user.lower()},
            "view": view,
            "api_app_id": "A0JITGATE",
        }

    def command(self, text: str, user: str, *, team: str = WORKSPACE) -> dict[str, str]:
        fields = {"command": COMMAND, "text": text, "user_id": user, "team_id": team, "channel_id": CHANNEL}
        return {**fields, "trigger_id": "1.2", "response_url": f"{self.url}/response", "api_app_id": "A0JITGATE"}

    def write(self, text: str, user: str, *, team: str = WORKSPACE) -> dict[str, Any]:
        """The payload of a direct message to the app."""
        message = {"type": "message", "channel_type": "im", "channel": f"D-{user}", "text": text, "ts": "1.1"}
        event = {**message, "user": user, "team": team, "event_ts": "1.1"}
        return {
            "type": "event_callback",
            "team_id": WORKSPACE,
            "event": event,
            "event_id": f"Ev{uuid.uuid4().hex}",
            "authorizations": [{"team_id": WORKSPACE, "user_id": "UBOT", "is_bot": True}],
            "api_app_id": "A0JITGATE",
        }

    # The ways by which Slack sends it

    async def by_socket(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        """What the app answered; raises TimeoutError after three seconds, as Slack gives up."""
        envelope = uuid.uuid4().hex
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._acknowledged[envelope] = future
        said = {"envelope_id": envelope, "type": kind, "payload": payload, "accepts_response_payload": True}
        await self.sockets[-1].send_json(said)
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
            return await future

    # The parts of the service

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        if path == "/socket":
            return await self._socket(request)
        method = path.removeprefix("/api/")
        self.calls.append(method)
        if self.is_down or self.breaks_after == 0:
            return web.Response(status=503)
        if self.answers:
            return self.answers.pop(0)
        if self.breaks_after:
            self.breaks_after -= 1
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            return web.json_response({"ok": False, "error": "invalid_auth"})
        given = await _arguments(request)
        handler: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(
            self, "_" + method.replace(".", "_"), None
        )
        if handler is None:
            return web.json_response({"ok": False, "error": "unknown_method"})
        if self.is_paced and method == "chat.postMessage" and (pause := self._pause(given["channel"])):
            answer = {"ok": False, "error": "ratelimited"}
            return web.json_response(answer, status=429, headers={"Retry-After": str(pause)})
        needed = SCOPES.get(method, set())
        if method in {"conversations.history", "conversations.replies"}:
            needed = {READING[given["channel"][0]]}
        if not needed <= self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": ",".join(needed)})
        try:
            return web.json_response({"ok": True, **handler(given)})
        except Refusal as refusal:
            return web.json_response({"ok": False, "error": str(refusal)})

    def _pause(self, channel: str) -> int:
        """Seconds until that channel takes another message; 0: it takes this one."""
        now = self.clock()
        paid_until = max(self._paid_until.get(channel, now), now)
        if (ahead := paid_until - now - (_AT_ONCE - 1)) > 0:
            return math.ceil(ahead)
        self._paid_until[channel] = paid_until + 1
        return 0

    def _auth_test(self, _given: dict[str, Any]) -> dict[str, Any]:
        who = {"user": "jitgate", "user_id": "UBOT", "bot_id": "BBOT", "url": f"{self.url}/"}
        return {**who, "team": "tests", "team_id": WORKSPACE}

    def _apps_connections_open(self, _given: dict[str, Any]) -> dict[str, Any]:
        return {"url": f"{self.url.replace('http', 'ws', 1)}/socket"}

    def _conversations_open(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["users"] not in self.users:
            raise Refusal("user_not_found")
        return {"channel": {"id": f"D-{given['users']}"}}

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        channel, thread = self._channel(given), given.get("thread_ts", "")
        _check_message(given)
        if thread and (channel, thread) not in self.messages:
            raise Refusal("thread_not_found")
        return {"channel": channel, "ts": self.said(given, channel, thread).ts}

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        _check_message(given)
        message = self.messages.get((self._channel(given), given["ts"]))
        if message is None:
            raise Refusal("message_not_found")
        message.content, message.updates = given, message.updates + 1
        return {"channel": message.channel, "ts": message.ts}

    def _chat_postEphemeral(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        self.whispers.append((self._channel(given), given["user"], given["text"]))
        return {"message_ts": "1.1"}

    def _conversations_history(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(given)
        found = [one for one in self.top() if one.channel == channel]
        page = _page(found, given)
        return {**page, "messages": page["messages"][::-1]}  # within a page the newest is the first

    def _conversations_replies(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(given)
        found = [
            one for one in self.messages.values() if one.channel == channel and given["ts"] in {one.ts, one.thread}
        ]
        above, *replies = found
        page = _page(replies, given)
        return {**page, "messages": [_with_metadata(above), *page["messages"]]}

    def _views_open(self, given: dict[str, Any]) -> dict[str, Any]:
        began = self._triggers.pop(given["trigger_id"], None)
        if began is None or time.monotonic() - began > ACKNOWLEDGE_SECONDS:
            raise Refusal("expired_trigger_id")
        view = given["view"] if isinstance(given["view"], dict) else json.loads(given["view"])
        check_view(view)
        self.dialogs.append(view)
        return {"view": view}

    def _channel(self, given: dict[str, Any]) -> str:
        channel: str = given["channel"]
        if channel in self.archived:
            raise Refusal("is_archived")
        if channel != CHANNEL and channel.removeprefix("D-") not in self.users:
            raise Refusal("channel_not_found")
        return channel

    async def _socket(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0JITGATE"}})
        self.sockets.append(socket)
        self.connections += 1
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and message.data.startswith("{"):
                    said = json.loads(message.data)
                    if (
                        waiting := self._acknowledged.pop(said.get("envelope_id", ""), None)
                    ) and not waiting.done():
                        waiting.set_result(said.get("payload") or {})
        finally:
            self.sockets.remove(socket)
        return socket


def signed(
    payload: dict[str, Any], secret: str = SIGNING_SECRET, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers as Slack posts them: interactions in a form, commands as a form, events as JSON."""
    if payload.get("type") in {"event_callback", "url_verification"}:
        body, kind = json.dumps(payload).encode(), "application/json"
    else:
        form = payload if "command" in payload else {"payload": json.dumps(payload)}
        body, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), b":".join((b"v0", timestamp.encode(), body)), hashlib.sha256).hexdigest()
    headers = {"content-type": kind, "x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={digest}"}
    return body, headers


async def post(
    url: str, payload: dict[str, Any], tls: ssl.SSLContext | None = None, **how: Any
) -> tuple[int, dict[str, Any] | str]:
    """What the app answered, within three seconds."""
    body, headers = signed(payload, **how)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ACKNOWLEDGE_SECONDS)) as session,
        session.post(url, data=body, headers=headers, ssl=tls or True) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def _arguments(request: web.BaseRequest) -> dict[str, Any]:
    if request.content_type == "application/json":
        found: dict[str, Any] = await request.json()
        return found
    given: dict[str, Any] = dict(await request.post())
    given |= dict(request.rel_url.query)
    for name in ("blocks", "metadata", "view"):
        if isinstance(given.get(name), str):
            given[name] = json.loads(given[name])
    return given


def _page(found: list[Message], given: dict[str, Any]) -> dict[str, Any]:
    """With an `oldest` alone, the page that is closest to it; without one, the newest."""
    limit, after = int(given.get("limit", 100)), given.get("cursor") or given.get("oldest") or ""
    later = [one for one in found if float(one.ts) > float(after or 0)]
    page = later[:limit] if after else later[-limit:]
    has_more = bool(after) and len(later) > limit
    cursor = {"response_metadata": {"next_cursor": page[-1].ts}} if has_more else {}
    return {"messages": [_with_metadata(one) for one in page], "has_more": has_more, **cursor}


def _with_metadata(message: Message) -> dict[str, Any]:
    return {"ts": message.ts, "text": message.content["text"], "metadata": message.content.get("metadata", {})}


def _check_message(given: dict[str, Any]) -> None:
    blocks = given.get("blocks", [])
    if not given.get("text") and not blocks:
        raise Refusal("no_text")
    if len(given.get("text", "")) > _TEXT:
        raise Refusal("msg_too_long")
    if len(json.dumps(given.get("metadata", {}))) > _METADATA:
        raise Refusal("metadata_too_large")
    if len(json.dumps(blocks, ensure_ascii=False).encode("utf-16-le")) // 2 > _BLOCKS_LENGTH:
        raise Refusal("msg_blocks_too_long")
    _check_blocks(blocks, _BLOCKS)


def check_view(view: dict[str, Any]) -> None:
    """Raises Refusal."""
    if (
        view["type"] != "modal"
        or len(view["title"]["text"]) > _TITLE
        or len(view.get("private_metadata", "")) > _PRIVATE
    ):
        raise Refusal("invalid_arguments")
    if any(block["type"] == "input" for block in view["blocks"]) != ("submit" in view):
        raise Refusal("invalid_arguments")
    _check_blocks(view["blocks"], _MODAL_BLOCKS)


def _check_blocks(blocks: list[dict[str, Any]], most: int) -> None:
    if len(blocks) > most:
        raise Refusal("invalid_blocks")
    for block in blocks:
        match block["type"]:
            case "header":
                good = block["text"]["type"] == "plain_text" and 1 <= len(block["text"]["text"]) <= _HEADER
            case "rich_text":
                sections = block["elements"]
                good = all(one["text"] for section in sections for one in section["elements"]) and bool(sections)
            case "actions":
                good = 1 <= len(block["elements"]) <= _ELEMENTS and all(map(_is_button, block["elements"]))
            case "input":
                good = (
                    block["element"].get("max_length", 0) <= _PLAIN_INPUT and len(block["label"]["text"]) <= 2000
                )
            case _:
                good = False
        if not good:
            raise Refusal("invalid_blocks")


def _is_button(element: dict[str, Any]) -> bool:
    return (
        element["type"] == "button"
        and len(element["text"]["text"]) <= _BUTTON_TEXT
        and len(element.get("value", "")) <= _BUTTON_VALUE
        and len(element.get("url", "")) <= _URL
        and element.get("style", "primary") in {"primary", "danger"}
    )


def _read(found: Any) -> list[str]:
    if isinstance(found, dict):
        if isinstance(found.get("text"), str):
            return [found["text"]]
        return [text for value in found.values() for text in _read(value)]
    if isinstance(found, list):
        return [text for value in found for text in _read(value)]
    return []


@contextlib.asynccontextmanager
async def workspace() -> AsyncIterator[Workspace]:
    made = Workspace(users={"UBOB", "USAM", "UALICE", "UMALLORY"})
    runner = web.ServerRunner(web.Server(made.answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        for socket in list(made.sockets):
            await socket.close()
        await runner.cleanup()

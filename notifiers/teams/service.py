"""The Bot Framework's connector service, as a bot calls it (REST, v3): tokens, limits, what answers mean."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from notifiers.errors import NotDelivered, TryAgain, Undeliverable, Unusable
from notifiers.teams.settings import TeamsSettings, is_trustworthy
from notifiers.text import cut, shown

_MAXIMUM_BYTES = 256 << 10
_LIMIT_BYTES = 40 << 10  # of an activity; more is refused with 413
_RENEW_SECONDS = 300.0  # before a token ends
_LONGEST_PAUSE = 3600.0
_PASSING = frozenset({408, 412, 425, 429, 500, 502, 503, 504})
# What refusals mean, by status, of a place that was known,
_LOST = {403: "the bot was removed there, or may not write", 404: "there is no such conversation any more"}
# and of a chat that was to begin.
_NO_CHAT = dict.fromkeys(
    (400, 403, 404),
    "the app is not installed for this person, or Teams does not know them: "
    "install it for them, then `jit notices retry`; or let them run `jit link teams`",
)


class Gone(Exception):
    """The message that was to be changed is not there any more; the conversation may be."""


class ConnectorService:
    """Every method raises TryAgain and Undeliverable. `clock` counts seconds and never goes back."""

    def __init__(self, settings: TeamsSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client = httpx.AsyncClient(
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            trust_env=not settings.insecure_loopback,  # what is on this host needs no proxy
        )
        self._token = ""
        self._token_until = 0.0
        self._one_asks = asyncio.Lock()

    async def close(self) -> None:
        await self._client.aclose()

    async def begin_thread(self, channel: str, activity: Mapping[str, Any]) -> dict[str, str]:
        """A new post in a channel; where it stands."""
        settings = self._settings
        body = {
            "isGroup": True,
            "bot": {"id": f"28:{settings.app_id}"},
            "tenantId": settings.tenant_id,
            "channelData": {"channel": {"id": channel}, "tenant": {"id": settings.tenant_id}},
            "activity": activity,
        }
        answer = await self._call("POST", settings.service_url, "v3/conversations", body)
        return _reference(settings.service_url, _word(answer, "id"), _word(answer, "activityId"))

    async def begin_chat(self, object_id: str) -> tuple[str, str]:
        """Service and conversation of the personal chat with somebody of the tenant's directory.

        Teams answers with the same one however often it is asked. It would say something there at once, but not
        which message that is, so it could never be changed.
        """
        settings = self._settings
        body = {
            "isGroup": False,
            "bot": {"id": f"28:{settings.app_id}"},
            "members": [{"id": object_id}],
            "tenantId": settings.tenant_id,
            "channelData": {"tenant": {"id": settings.tenant_id}},
        }
        answer = await self._call("POST", settings.service_url, "v3/conversations", body, _NO_CHAT)
        conversation = _word(answer, "id")
        if not conversation:
            raise TryAgain("Teams did not say which conversation it began")
        return settings.service_url, conversation

    async def say(self, service_url: str, conversation: str, activity: Mapping[str, Any]) -> dict[str, str]:
        """A new message at the end of a conversation; where it stands."""
        path = f"v3/conversations/{quote(conversation, safe='')}/activities"
        answer = await self._call("POST", service_url, path, activity)
        return _reference(service_url, conversation, _word(answer, "id"))

    async def change(self, reference: Mapping[str, str], activity: Mapping[str, Any]) -> None:
        """Puts another message into the place of an earlier one. Raises Gone."""
        conversation, message = (quote(reference.get(name, ""), safe="") for name in ("conversation", "activity"))
        path = f"v3/conversations/{conversation}/activities/{message}"
        body = {**activity, "id": reference.get("activity", "")}
        await self._call("PUT", reference.get("service_url", ""), path, body)

    async def sign_in(self) -> None:
        """Asks for a token anew."""
        self._token = ""
        await self._bearer()

    async def document(self, url: str) -> dict[str, Any]:
        """A JSON object that everybody may read."""
        if not is_trustworthy(url, insecure_loopback=self._settings.insecure_loopback):
            raise TryAgain(f"{url[:256]!r} is no https:// address")
        response, answer = await self._ask("GET", url)
        if response.status_code != httpx.codes.OK:
            raise TryAgain(f"{_host(url)} answered {response.status_code}")
        return answer

    async def _call(
        self,
        method: str,
        service_url: str,
        path: str,
        body: Mapping[str, Any],
        hints: Mapping[int, str] = _LOST,
    ) -> dict[str, Any]:
        if not is_trustworthy(service_url, insecure_loopback=self._settings.insecure_loopback):
            raise Undeliverable("the conversation's service has no https:// address")
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        if len(content) > _LIMIT_BYTES:
            raise Undeliverable(f"the message has {len(content)} bytes; Teams takes {_LIMIT_BYTES}")
        url = f"{service_url.rstrip('/')}/{path}"
        for is_last in (False, True):
            token = await self._bearer()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
            response, answer = await self._ask(method, url, content=content, headers=headers)
            if response.is_success:
                return answer
            if response.status_code != httpx.codes.UNAUTHORIZED or is_last:
                break
            if self._token == token:  # ended before its time, as when the secret was changed
                self._token = ""
        raise _judged(method, response, answer, hints)

    async def _bearer(self) -> str:
        async with self._one_asks:
            if not self._token or self._clock() >= self._token_until:
                self._token, seconds = await self._new_token()
                self._token_until = self._clock() + max(seconds - _RENEW_SECONDS, seconds / 2)
            return self._token

    async def _new_token(self) -> tuple[str, float]:
        """By the client's own credentials (RFC 6749, 4.4)."""
        settings = self._settings
        try:
            secret = settings.client_secret()
        except Unusable as missing:
            raise TryAgain(str(missing)) from None
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.app_id,
            "client_secret": secret.get_secret_value(),
            "scope": f"{settings.issuer}/.default",
        }
        url = f"{settings.login_url.rstrip('/')}/{settings.tenant_id}/oauth2/v2.0/token"
        response, answer = await self._ask("POST", url, data=form)
        if not response.is_success:
            # Not for good: an operator can mend it. The description may repeat what we sent; its code does not.
            why = cut(shown(str(answer.get("error", "no reason given"))), 64)
            raise TryAgain(f"{_host(url)} gave the bot no token: {response.status_code} {why}", _pause(response))
        seconds = answer.get("expires_in")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= 1 << 31:
            raise TryAgain(f"{_host(url)} gave a token that does not say when it ends")
        token = _word(answer, "access_token", 16 << 10)
        if not token or not token.isascii() or not token.isprintable():
            raise TryAgain(f"{_host(url)} gave a token that is none")
        return token, float(seconds)

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[httpx.Response, dict[str, Any]]:
        try:
            async with (
                asyncio.timeout(self._settings.timeout_seconds),
                self._client.stream(method, url, **options) as response,
            ):
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAXIMUM_BYTES:
                        raise TryAgain(f"{_host(url)} answered with more than {_MAXIMUM_BYTES} bytes")
        except TimeoutError:
            raise TryAgain(
                f"{_host(url)} did not answer within {self._settings.timeout_seconds} seconds"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryAgain(f"{_host(url)} can't be reached: {error or type(error).__name__}") from None
        try:
            document = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            document = {}
        return response, document if isinstance(document, dict) else {}


def _judged(
    method: str, response: httpx.Response, answer: Mapping[str, Any], hints: Mapping[int, str]
) -> NotDelivered | Gone:
    """What an answer other than success means. 401 is not for good: an operator can mend it."""
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else ""
    code = cut(shown(code), 64) if isinstance(code, str) else ""
    status = response.status_code
    why = f"Teams answered {status} {code}".rstrip()
    if status in _PASSING or status == httpx.codes.UNAUTHORIZED:
        return TryAgain(why, _pause(response))
    is_there = code not in {"ConversationNotFound", "BotNotInConversationRoster"}
    if method == "PUT" and status in {404, 410} and is_there:
        return Gone(why)
    return Undeliverable(f"{why}: {hints[status]}" if status in hints else why)


def _pause(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "")
    return min(float(said), _LONGEST_PAUSE) if said.isdecimal() and len(said) < 9 else None


def _reference(service_url: str, conversation: str, activity: str) -> dict[str, str]:
    """Empty where Teams did not say: then the message can't be changed."""
    if not conversation or not activity:
        return {}
    return {"service_url": service_url, "conversation": conversation, "activity": activity}


def _word(answer: Mapping[str, Any], name: str, longest: int = 300) -> str:
    value = answer.get(name, "")
    return value if isinstance(value, str) and len(value) <= longest else ""


def _host(url: str) -> str:
    return httpx.URL(url).host

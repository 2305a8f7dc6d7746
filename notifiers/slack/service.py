"""Slack's Web API, as the app calls it: what answers mean."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from notifiers.errors import NotDelivered, TryAgain, Undeliverable
from notifiers.slack.settings import SlackSettings
from notifiers.text import cut, shown

_LONGEST_PAUSE: Final = 3600.0
_CLOCKS_DIFFER: Final = timedelta(seconds=60)
_PAGE: Final = 200
_MOST_PAGES: Final = 5
"""Of messages that are looked through for one that may have been sent before."""
_NOBODY: Final = frozenset(
    {
        "cannot_dm_bot",
        "channel_not_found",
        "channel_is_archived",
        "is_archived",
        "messages_tab_disabled",
        "not_in_channel",
        "user_disabled",
        "user_not_found",
        "user_not_visible",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_metadata_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "restricted_action",
    }
)
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})


class Gone(Exception):
    """The message that was to be changed is not there any more; the conversation may be."""


class SlackService:
    """Every method raises TryAgain and Undeliverable."""

    def __init__(self, settings: SlackSettings) -> None:
        """Raises Unusable."""
        self.client = AsyncWebClient(
            token=settings.bot_token().get_secret_value(),
            base_url=settings.api_url,
            timeout=settings.timeout_seconds,
            trust_env_in_session=not settings.insecure_loopback,  # what is on this host needs no proxy
            retry_handlers=[],  # the outbox tries again, and knows how long Slack asks it to wait
        )

    async def who_am_i(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await _asked(self.client.auth_test())
        return answer

    async def conversation_with(self, user: str) -> str:
        """The id of the app's direct messages with somebody."""
        answer = await _asked(self.client.conversations_open(users=user))
        return str(answer["channel"]["id"])

    async def say(self, channel: str, message: Mapping[str, Any], thread: str | None = None) -> str:
        """A new message; its timestamp, which names it in its channel."""
        answer = await _asked(
            self.client.chat_postMessage(
                channel=channel, thread_ts=thread, unfurl_links=False, unfurl_media=False, **message
            )
        )
        return str(answer["ts"])

    async def change(self, channel: str, ts: str, message: Mapping[str, Any]) -> None:
        """Puts another message into the place of an earlier one. Raises Gone."""
        await _asked(self.client.chat_update(channel=channel, ts=ts, **message))

    async def find(self, channel: str, delivery_id: str, since: datetime, thread: str | None = None) -> str | None:
        """The timestamp of a message, not older than that, which says by its metadata that it is that delivery.

        In a thread it is a reply: the message above them says the same once it has been changed.
        """
        async for message in self._messages(channel, since - _CLOCKS_DIFFER, thread):
            payload = message.get("metadata", {}).get("event_payload", {})
            if message["ts"] != thread and payload.get("delivery") == delivery_id:
                return str(message["ts"])
        return None

    async def _messages(
        self, channel: str, since: datetime, thread: str | None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """As many as are looked through, the pages that are closest to `since` first: Slack reads on from there
        when it is told no end."""
        cursor = None
        for _ in range(_MOST_PAGES):
            asked: dict[str, Any] = {
                "channel": channel,
                "oldest": f"{since.timestamp():.6f}",
                "limit": _PAGE,
                "cursor": cursor,
                "include_all_metadata": True,
            }
            page = await _asked(
                self.client.conversations_history(**asked)
                if thread is None
                else self.client.conversations_replies(ts=thread, **asked)
            )
            for message in page["messages"]:
                yield message
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return


async def _asked(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except SlackApiError as error:
        raise _judged(error) from None
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
        raise TryAgain(f"Slack does not answer: {type(failure).__name__}") from None


def _judged(error: SlackApiError) -> NotDelivered | Gone:
    # What is no JSON comes as aiohttp's own response.
    response: Any = error.response
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    code = data.get("error", "") if status == 200 and isinstance(data, dict) else ""
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        return TryAgain("Slack limits the rate", _pause(response.headers))
    if code in _GONE:
        return Gone()
    said = shown(cut(str(code) or f"status {status}", 64))
    if code in _NOBODY:
        return Undeliverable(f"Slack refuses the message: {said}")
    return TryAgain(f"Slack refuses for now: {said}")


def _pause(headers: Mapping[str, Any]) -> float | None:
    asked = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    asked = asked[0] if isinstance(asked, list) else asked
    return min(float(asked), _LONGEST_PAUSE) if str(asked).isdecimal() else None

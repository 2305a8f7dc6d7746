"""Brings notices to channels and to persons in Slack."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from notifiers.chat import Desk, Endpoint
from notifiers.errors import TryAgain, Undeliverable
from notifiers.model import Delivery, NoticeKind, Receipt, Relation
from notifiers.slack import blocks
from notifiers.slack.acting import Acting
from notifiers.slack.service import Gone, SlackService
from notifiers.slack.settings import SlackSettings
from notifiers.wording import Templates, Wording

_CHANNEL = re.compile(r"[CDG][A-Z0-9]{2,31}")
_ASKS_FOR_ATTENTION = frozenset(
    {
        NoticeKind.REMINDER,
        NoticeKind.ESCALATION,
        NoticeKind.PENDING_ENDS_SOON,
        NoticeKind.WINDOW_ENDS_SOON,
        NoticeKind.CONFLICT,
    }
)


class SlackNotifier:
    """A channel's address is `{"channel": "C…"}`, a person's `{"workspace": "T…", "user": "U…"}`, as linking
    learns it. A message's reference holds channel and timestamp.

    A later notice takes the place of the first one and may say more in its thread. What was tried before is looked
    for by the metadata of the messages, so that a crash makes nobody read anything twice.
    """

    def __init__(self, settings: SlackSettings) -> None:
        """Raises Unusable."""
        self.concurrency = settings.concurrency
        self._workspace = settings.workspace
        self._service = SlackService(settings)
        self._acting = Acting(settings, self._service.client)
        self._wording = Wording(Templates(settings.templates_dir))

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return self._acting.endpoints

    async def listen(self, desk: Desk) -> None:
        """Raises TryAgain."""
        await self._acting.listen(desk)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Raises TryAgain, Undeliverable."""
        said = self._wording.say(delivery)
        message = blocks.message(delivery, said)
        if not delivery.first:
            return await self._send(delivery, message)
        channel, ts = delivery.first.get("channel", ""), delivery.first.get("ts", "")
        try:
            await self._service.change(channel, ts, message)
            if _is_told_aloud(delivery) and not await self._earlier(delivery, channel, ts):
                await self._service.say(channel, blocks.reply(delivery, said), ts)
        except Gone:  # somebody deleted it
            return await self._send(delivery, message)
        return Receipt(delivery.first)

    def check_address(self, address: Mapping[str, str]) -> None:
        """Raises Undeliverable. Slack posts to a channel by its name as well, but changes no message there."""
        if channel := address.get("channel", ""):
            if not _CHANNEL.fullmatch(channel):
                raise Undeliverable("a channel is named by its id, such as C0123ABCD")
        elif not address.get("user", "") or address.get("workspace") != self._workspace:
            raise Undeliverable("the recipient is neither a channel nor a linked person: jit link slack")

    async def check(self) -> str:
        """Raises TryAgain, Undeliverable."""
        me = await self._service.who_am_i()
        if me.get("team_id") != self._workspace:
            raise Undeliverable(f"the bot token is of another workspace than {self._workspace}")
        return f"the app is signed in to {self._workspace} as {me.get('user', '')}"

    async def close(self) -> None:
        await self._acting.close()

    async def _send(self, delivery: Delivery, message: Mapping[str, Any]) -> Receipt:
        channel = await self._where(delivery)
        ts = await self._earlier(delivery, channel)
        return Receipt({"channel": channel, "ts": ts or await self._said(channel, message)})

    async def _said(self, channel: str, message: Mapping[str, Any]) -> str:
        try:
            return await self._service.say(channel, message)
        except Gone:
            raise TryAgain("Slack says that a new message is gone") from None

    async def _where(self, delivery: Delivery) -> str:
        address = delivery.recipient.address
        self.check_address(address)
        return address.get("channel", "") or await self._service.conversation_with(address["user"])

    async def _earlier(self, delivery: Delivery, channel: str, thread: str | None = None) -> str | None:
        """What an earlier try has said, if there was one."""
        if delivery.attempt == 1:
            return None
        return await self._service.find(channel, delivery.id, delivery.notice.at, thread)


def _is_told_aloud(delivery: Delivery) -> bool:
    """Nobody is notified of a message that changes: what they wait for, or have to do, is said anew."""
    return delivery.recipient.relation is not Relation.APPROVER or delivery.notice.kind in _ASKS_FOR_ATTENTION


def make(settings: Mapping[str, Any]) -> SlackNotifier:
    """Raises pydantic.ValidationError, Unusable."""
    return SlackNotifier(SlackSettings.model_validate(settings))

"""Brings notices to channels and to persons in Microsoft Teams."""

import re
from collections.abc import Mapping
from typing import Any

from notifiers.chat import Desk, Endpoint
from notifiers.errors import Undeliverable
from notifiers.model import Delivery, NoticeKind, Receipt, Relation
from notifiers.teams import card as cards
from notifiers.teams.bot_tokens import BotTokens
from notifiers.teams.incoming import TeamsDoor
from notifiers.teams.service import ConnectorService, Gone
from notifiers.teams.settings import TeamsSettings, is_guid
from notifiers.teams.signing_keys import SigningKeys
from notifiers.text import cut
from notifiers.wording import Said, Templates, Wording

_CHANNEL = re.compile(r"19:[^\s@]+@thread\.[a-z0-9]+")
_LONGEST = 512  # of what an address holds
_ASKS_FOR_ATTENTION = frozenset(
    {
        NoticeKind.REMINDER,
        NoticeKind.ESCALATION,
        NoticeKind.PENDING_ENDS_SOON,
        NoticeKind.WINDOW_ENDS_SOON,
        NoticeKind.CONFLICT,
    }
)


class TeamsNotifier:
    """A channel's address is `{"channel": "19:…@thread.tacv2"}`, a person's `{"conversation": …, "service_url": …,
    "user": …}`, as linking learns it, or `{"workspace": …, "user": …}`, tenant and directory object id, as the
    identity provider claims them. A message's reference holds service, conversation and activity.

    A later notice takes the place of the first one, by PUT, which may be repeated. The service has nothing by
    which a POST that is repeated after a crash could be known: a first message can come twice then, or a reply.
    """

    def __init__(self, settings: TeamsSettings, service: ConnectorService | None = None) -> None:
        """Raises Unusable."""
        settings.client_secret()  # what can't be read is told now, not at the first notice
        self.concurrency = settings.concurrency
        self._app_id = settings.app_id
        self._tenant_id = settings.tenant_id
        self._service = service or ConnectorService(settings)
        self._wording = Wording(Templates(settings.templates_dir))
        keys = SigningKeys(self._service.document, settings.metadata_url, settings.issuer)
        door = TeamsDoor(settings.tenant_id, self._service, self._wording)
        self.endpoints = (Endpoint("/messages", BotTokens(settings, keys).prove, door.answer),)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Raises TryAgain, Undeliverable."""
        said = self._wording.say(delivery)
        message = cards.activity(cards.card(delivery, said), said.title)
        if not delivery.first:
            return Receipt(await self._send(delivery, message) or None)
        try:
            await self._service.change(delivery.first, message)
        except Gone:  # somebody deleted it
            return Receipt(await self._send(delivery, message) or None)
        if _is_told_aloud(delivery):
            await self._reply(delivery.first, said, delivery.notice.link)
        return Receipt(delivery.first)

    def check_address(self, address: Mapping[str, str]) -> None:
        """Raises Undeliverable."""
        if channel := _part(address, "channel"):
            if not _CHANNEL.fullmatch(channel):
                raise Undeliverable("a channel is named by its id, such as 19:…@thread.tacv2")
        elif not (_part(address, "service_url") and _part(address, "conversation")):
            self._object_id(address)

    async def listen(self, desk: Desk) -> None:
        """Teams posts to the endpoint."""

    async def check(self) -> str:
        """Raises TryAgain, Undeliverable."""
        await self._service.sign_in()
        return f"the bot {self._app_id} gets its tokens"

    async def close(self) -> None:
        await self._service.close()

    async def _send(self, delivery: Delivery, message: Mapping[str, Any]) -> dict[str, str]:
        address = delivery.recipient.address
        self.check_address(address)
        if channel := _part(address, "channel"):
            return await self._service.begin_thread(channel, message)
        where = _part(address, "service_url"), _part(address, "conversation")
        if not all(where):
            where = await self._service.begin_chat(self._object_id(address))
        return await self._service.say(*where, message)

    def _object_id(self, address: Mapping[str, str]) -> str:
        """Of a person who never wrote to the bot. Raises Undeliverable."""
        tenant_id, object_id = _part(address, "workspace").lower(), _part(address, "user").lower()
        if not tenant_id or not object_id:
            raise Undeliverable("the recipient is neither a channel nor a person of Teams: jit link teams")
        if tenant_id != self._tenant_id:
            raise Undeliverable("the person is of another tenant than the bot: see claims.chats.teams.workspace")
        if not is_guid(object_id):
            raise Undeliverable("the person has no directory object id: let claims.chats.teams.user name it (oid)")
        return object_id

    async def _reply(self, first: Mapping[str, str], said: Said, link: str) -> None:
        """Into the thread, where there is one: a channel's conversation is that of its first message."""
        message = cards.activity(cards.reply(said, link), said.title)
        where = _part(first, "service_url"), _part(first, "conversation")
        await self._service.say(*where, {**message, "replyToId": _part(first, "activity")})


def _is_told_aloud(delivery: Delivery) -> bool:
    """Nobody is notified of a message that changes: what they wait for, or have to do, is said anew."""
    return delivery.recipient.relation is not Relation.APPROVER or delivery.notice.kind in _ASKS_FOR_ATTENTION


def _part(address: Mapping[str, str], name: str) -> str:
    return cut(address.get(name, ""), _LONGEST)


def make(settings: Mapping[str, Any]) -> TeamsNotifier:
    """Raises pydantic.ValidationError, Unusable."""
    return TeamsNotifier(TeamsSettings.model_validate(settings))

"""A click, a dialog, a command or a message in Slack, handed to the desk, and what the person is told."""

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import structlog
from slack_bolt.async_app import AsyncAck
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from notifiers.chat import ChatPerson, Click, Desk, Reply, Standing, Verdict
from notifiers.model import Action, Subject
from notifiers.slack import blocks

_log = structlog.get_logger("jitgate.slack")
_KIND: Final = "slack"
_ANSWERING_SECONDS: Final = 2.0
"""Slack gives up on an answer after three."""
_LINK: Final = re.compile(r"\s*link\s+([A-Za-z0-9 -]{1,64})\s*", re.IGNORECASE)
_HOW: Final = Reply(Verdict.REFUSED, "Type: link CODE", "The code is shown by: jit link slack")
_SLOW: Final = Reply(Verdict.REFUSED, "This takes longer than usual.", "The message will show what became of it.")
_SLOW_LINK: Final = Reply(
    Verdict.REFUSED, "This takes longer than usual.", "A direct message will say how it ended."
)

Payload = Mapping[str, Any]


class Handling:
    """What Bolt calls: the names of the arguments are Bolt's."""

    def __init__(self, workspace: str, client: AsyncWebClient, desk: Desk) -> None:
        self._workspace = workspace
        self._client = client
        self._desk = desk
        self._working: set[asyncio.Task[Reply]] = set()

    async def close(self) -> None:
        """What is being decided is decided: it is one transaction, and nobody waits for the words any more."""
        await asyncio.gather(*self._working, return_exceptions=True)

    async def clicked(self, ack: AsyncAck, body: Payload, action: Payload) -> None:
        """A button of a notice: asks for a comment, or says at once why there is nothing to ask."""
        await ack()
        try:
            meant, wanted = blocks.Meant.of(action["value"]), Action(action["action_id"])
        except (KeyError, ValueError):
            return  # no button of ours
        person = self._person(body["user"], body)
        channel = str(body.get("channel", {}).get("id", ""))
        found = await self._desk.standing(person, meant.request_id, wanted)
        if isinstance(found, Standing) and found.subject.level != meant.level:
            found = _changed(found.subject)
        view = blocks.question(wanted, found, channel) if isinstance(found, Standing) else blocks.answer(found)
        await self._tell(self._client.views_open(trigger_id=body["trigger_id"], view=view))

    async def submitted(self, ack: AsyncAck, body: Payload, view: Payload) -> None:
        """The dialog: decides."""
        try:
            meant = blocks.Meant.of(view["private_metadata"])
            wanted = Action(view["callback_id"].partition(":")[2])
            typed = view["state"]["values"][blocks.COMMENT][blocks.COMMENT]["value"] or ""
        except (KeyError, ValueError, TypeError):
            await ack()
            return
        person = self._person(body["user"], body)
        comment = str(typed)[: blocks.COMMENT_LIMIT]
        click = Click(person, meant.request_id, wanted, comment, meant.level)
        deciding = await self._for_a_while(self._desk.decide(click))
        if not deciding.done():
            await ack(response_action="update", view=blocks.answer(_SLOW))
            await self._whisper(meant.channel, body["user"]["id"], await deciding)
        elif deciding.result().verdict is Verdict.DONE:
            await ack()  # the message itself turns into the outcome
        else:
            await ack(response_action="update", view=blocks.answer(deciding.result()))

    async def commanded(self, ack: AsyncAck, command: Payload) -> None:
        """The slash command; nobody else sees the answer."""
        user = {"id": command["user_id"], "team_id": command.get("team_id", "")}
        linking = await self._for_a_while(self._linked(self._person(user, command), str(command.get("text", ""))))
        if linking.done():
            await ack(text=blocks.in_words(linking.result()))
        else:
            await ack(text=blocks.in_words(_SLOW_LINK))
            await self._tell(self._write_to(command["user_id"], await linking))

    async def written(self, event: Payload, body: Payload) -> None:
        """A direct message to the app."""
        if event.get("channel_type") != "im" or event.get("subtype") or not event.get("user"):
            return
        team = event.get("user_team") or event.get("team") or body.get("team_id", "")
        person = self._person({"id": event["user"], "team_id": team}, body)
        text = blocks.in_words(await self._linked(person, str(event.get("text", ""))))
        await self._tell(self._client.chat_postMessage(channel=event["channel"], text=text))

    async def _for_a_while(self, work: Coroutine[Any, Any, Reply]) -> asyncio.Task[Reply]:
        """Done, or still at it when Slack has to be answered."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        await asyncio.wait({task}, timeout=_ANSWERING_SECONDS)
        return task

    async def _linked(self, person: ChatPerson, text: str) -> Reply:
        typed = _LINK.fullmatch(text)
        return await self._desk.link(person, typed[1]) if typed else _HOW

    def _person(self, user: Payload, body: Payload) -> ChatPerson:
        """By the workspace that the user is of: in a shared channel that is not the app's."""
        team = user.get("team_id") or body.get("team_id") or (body.get("team") or {}).get("id", "")
        address = {"workspace": str(team), "user": str(user["id"])}
        return ChatPerson(_KIND, f"{team}/{user['id']}", address, is_outsider=team != self._workspace)

    async def _whisper(self, channel: str, user: str, reply: Reply) -> None:
        if channel:
            text = blocks.in_words(reply)
            await self._tell(self._client.chat_postEphemeral(channel=channel, user=user, text=text))

    async def _write_to(self, user: str, reply: Reply) -> None:
        opened = await self._client.conversations_open(users=user)
        await self._client.chat_postMessage(channel=opened["channel"]["id"], text=blocks.in_words(reply))

    @staticmethod
    async def _tell(call: Any) -> None:
        """What can't be said is no harm: the decision stands, and the message shows it."""
        try:
            await call
        except (SlackApiError, SlackClientError, OSError, TimeoutError) as failure:
            _log.warning("slack.not_told", why=type(failure).__name__)


def _changed(subject: Subject) -> Reply:
    """In the words of a decision that comes too late for what was shown."""
    stands = f"waits at level {subject.level}" if subject.level else f"is {subject.status}"
    return Reply(
        Verdict.REFUSED,
        f"{subject.request_id} {stands} by now, which is not what was shown to you.",
        "Look at the request again, then decide.",
    )


async def acknowledge(ack: AsyncAck) -> None:
    """Of a button that only leads to a page."""
    await ack()

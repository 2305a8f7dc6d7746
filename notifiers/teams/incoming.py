"""What people do with the bot: clicks on cards, and what they write to it.

A click is answered with the clicker's own card, or with a line that says why not. What changed reaches everybody
else's cards as notices do.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import structlog

from notifiers.chat import ChatPerson, Click, Desk, Incoming, Outgoing, Reply, Standing, Verdict
from notifiers.errors import NotDelivered
from notifiers.model import Action, Delivery, Notice, NoticeKind, Recipient, Relation
from notifiers.teams import activity as activities
from notifiers.teams import card as cards
from notifiers.teams.activity import Activity
from notifiers.teams.service import ConnectorService
from notifiers.wording import Wording

_log = structlog.get_logger("jitgate.notices")

KIND: Final = "teams"
_MESSAGE = "application/vnd.microsoft.activity.message"
_ERROR = "application/vnd.microsoft.error"
_HOW = (
    "I tell you of access requests and let you decide. Unless your organization has told me who you are, run "
    "`jit link teams`, and write the code that it shows to me here."
)
# The state that a card tells; what happened meanwhile, such as a reminder, is not its business.
_KINDS: Final[Mapping[str, NoticeKind]] = {
    "Pending": NoticeKind.APPROVAL_NEEDED,
    "Approved": NoticeKind.APPROVED,
    "Failed": NoticeKind.FAILED,
    "Rejected": NoticeKind.REJECTED,
    "Cancelled": NoticeKind.CANCELLED,
    "TimedOut": NoticeKind.TIMED_OUT,
    "Revoked": NoticeKind.REVOKED,
    "Returned": NoticeKind.RETURNED,
    "Expired": NoticeKind.EXPIRED,
}


class TeamsDoor:
    """Answers activities that were proven to come from Teams."""

    def __init__(self, tenant_id: str, service: ConnectorService, wording: Wording) -> None:
        self._tenant_id = tenant_id
        self._service = service
        self._wording = wording

    async def answer(self, incoming: Incoming, desk: Desk) -> Outgoing:
        activity = activities.read(incoming.body)
        person = self._person(activity)
        if activity.is_click:
            return await self._click(activity, person, desk)
        # What others write in channels is nothing to us, and a code belongs into a personal chat.
        if activity.is_personal:
            await self._personal(activity, person, desk)
        return Outgoing()

    def _person(self, activity: Activity) -> ChatPerson:
        """Known by the object id in our tenant's directory; the rest is where they can be reached."""
        identity = activity.sender.aad_object_id.lower()
        is_ours = activity.tenants == {self._tenant_id} and bool(identity)
        tenant = self._tenant_id if is_ours else ",".join(sorted(activity.tenants)) or "unknown"
        address = {
            "conversation": activity.conversation.id,
            "service_url": activity.service_url,
            "user": activity.sender.id,
        }
        return ChatPerson(KIND, f"{tenant}/{identity}", address, is_outsider=not is_ours)

    async def _click(self, activity: Activity, person: ChatPerson, desk: Desk) -> Outgoing:
        verb, data = activity.value.action.verb, activity.value.action.data
        outcome = ""
        if verb in set(Action) and data.level >= 0:
            click = Click(person, data.request, Action(verb), data.comment, data.level)
            reply = await desk.decide(click)
            if reply.verdict is not Verdict.DONE:
                return _no(verb, reply)
            outcome = reply.message
        elif verb not in {cards.REFRESH, cards.SHOW}:
            return _invoked(400, _ERROR, {"code": "BadRequest", "message": "This card is none of ours."})
        standing = await desk.standing(person, data.request)
        if isinstance(standing, Reply):
            # What was decided is decided, even where the person sees nothing of the request any more.
            return _no(verb, standing) if not outcome else _invoked(200, _MESSAGE, outcome)
        return _invoked(200, cards.CONTENT_TYPE, self._view(standing, person, outcome))

    def _view(self, standing: Standing, person: ChatPerson, outcome: str) -> dict[str, Any]:
        """The card as this person is to see it now."""
        subject = standing.subject
        notice = Notice(_KINDS[subject.status], 0, standing.at, "", subject, standing.link)
        # What needs a fresh sign-in is shown as the way to the page.
        actions = (Action.APPROVE,) if standing.sign_in_again else standing.actions
        told = Delivery("view", notice, Recipient(_relation(standing), person.address), actions)
        said = self._wording.say(told)
        return cards.card(told, said, outcome)

    async def _personal(self, activity: Activity, person: ChatPerson, desk: Desk) -> None:
        words = activity.text.strip()
        if activity.type == "message" and words:
            word, _, rest = words.partition(" ")
            reply = await desk.link(person, rest.strip() if word.lower() == "link" else words)
            if person.is_outsider:  # refused, and written down; they are told nothing
                return
            answer = f"{reply.message} {reply.what_to_do}".strip()
        elif activity.type == "installationUpdate" and activity.action == "add" and not person.is_outsider:
            answer = _HOW
        else:
            return
        message = {"type": "message", "text": answer, "textFormat": "plain"}
        try:
            await self._service.say(activity.service_url, activity.conversation.id, message)
        except NotDelivered as why:
            _log.warning("teams.not_answered", why=str(why))


def _relation(standing: Standing) -> Relation:
    """How the words address somebody: as one who is asked only where something is to be decided."""
    decides = standing.sign_in_again or Action.APPROVE in standing.actions
    return Relation.APPROVER if decides or standing.actions else Relation.WATCHER


def _no(verb: str, reply: Reply) -> Outgoing:
    why = " ".join(part for part in (reply.message, reply.what_to_do, reply.link) if part)
    if verb == cards.REFRESH:  # the client asked by itself: it shows what everybody sees
        return _invoked(403, _ERROR, {"code": "Forbidden", "message": why})
    return _invoked(200, _MESSAGE, why)


def _invoked(status: int, kind: str, value: object) -> Outgoing:
    """The form in which Teams wants the answer to an invoke; HTTP's own status stays 200."""
    return Outgoing(body=json.dumps({"statusCode": status, "type": kind, "value": value}).encode())

"""What people do in a chat, decided by the same use cases as at the command line (R16 to R19, R30)."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.access.model import AccessRequest
from gateway.access.possible import Possible
from gateway.access.reading import RequestReader
from gateway.access.requests import AccessRequests
from gateway.access.visibility import not_found
from gateway.api import failures
from gateway.chat import guesses
from gateway.chat.linking import ChatLinks
from gateway.chat.people import NOT_LINKED, ChatPeople, source_of
from gateway.errors import Kind, Refused
from gateway.identity.ports import Clock
from gateway.notices.subject import subject_of
from gateway.store import directory, events
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.failures import DatabaseUnavailable, WriteConflict
from notifiers.chat import ChatPerson, Click, Reply, Standing, Verdict
from notifiers.model import Action

_ID: Final = re.compile(r"oi-[0-9a-f]{12}")
_STEP_UP: Final = "STEP_UP_NEEDED"
_SIGN_IN_NEEDED: Final = frozenset({_STEP_UP, "STALE_MEMBERSHIP"})
_DONE: Final = {Action.APPROVE: "You approved.", Action.DENY: "You denied it.", Action.REVOKE: "You revoked it."}

_Decide = Callable[..., Awaitable[AccessRequest]]


class ChatDesk:
    """Implements `notifiers.chat.Desk`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        requests: AccessRequests,
        reader: RequestReader,
        links: ChatLinks,
        *,
        link_to: Callable[[str], str],
    ) -> None:
        """`link_to` gives the address of a request's page, empty where there is none."""
        self._database = database
        self._clock = clock
        self._reader = reader
        self._links = links
        self._link_to = link_to
        self._people = ChatPeople(database, clock)
        self._decisions: dict[Action, _Decide] = {
            Action.APPROVE: requests.approve,
            Action.DENY: requests.deny,
            Action.REVOKE: requests.revoke,
        }

    async def decide(self, click: Click) -> Reply:
        try:
            caller = await self._people.caller(click.person)
            comment = " ".join(click.comment.split())
            decide = self._decisions[click.action]
            await decide(caller, _known_form(click.request_id), comment, shown_level=click.shown_level)
        except (Refused, DatabaseUnavailable, WriteConflict) as stopped:
            refused = failures.refusal_of(stopped)
            did = f"{click.action.value} {_named(click.request_id)}"
            return await self._refused(click.person, refused, click.request_id, did)
        return Reply(Verdict.DONE, _DONE[click.action])

    async def link(self, person: ChatPerson, code: str) -> Reply:
        try:
            user_id = await self._links.redeem(person, code)
        except (Refused, DatabaseUnavailable, WriteConflict) as stopped:
            return await self._refused(person, failures.refusal_of(stopped), "", "link themselves")
        return Reply(
            Verdict.DONE, f"You are {user_id} here from now on.", f"To end that: jit unlink {person.kind}"
        )

    async def standing(
        self, person: ChatPerson, request_id: str, wanted: Action | None = None
    ) -> Standing | Reply:
        try:
            caller = await self._people.caller(person)
            request = await self._reader.get(caller, _known_form(request_id))
            async with self._database.read() as connection:
                requester = await directory.get(connection, request.life.requester.user_id, self._clock())
            could = self._reader.possible(caller, request)
            offered = {Action.APPROVE: could.approve, Action.DENY: could.deny, Action.REVOKE: could.revoke}
            if wanted is not None and not offered[wanted]:
                raise _impossible(could, wanted)
        except (Refused, DatabaseUnavailable, WriteConflict) as stopped:
            refused = failures.refusal_of(stopped)
            if wanted is None:
                return self._reply(refused, request_id)
            return await self._refused(person, refused, request_id, f"{wanted.value} {_named(request_id)}")
        return Standing(
            subject=subject_of(request, "" if requester is None else requester.display_name),
            at=self._clock(),
            actions=tuple(action for action, is_possible in offered.items() if is_possible),
            sign_in_again=could.sign_in_again,
            link=self._link_to(request_id),
        )

    async def _refused(self, person: ChatPerson, refused: Refused, request_id: str, did: str) -> Reply:
        reply = self._reply(refused, request_id)
        # Whoever is sent to the page was not refused, a database that is down takes no events, and that somebody
        # has to wait was written down when it began.
        is_new = refused.kind not in failures.PASSING and refused.reason != guesses.BACKOFF
        if is_new and reply.verdict is not Verdict.SIGN_IN:
            await self._note(person, refused, request_id, did)
        return reply

    def _reply(self, refused: Refused, request_id: str) -> Reply:
        link = self._link_to(request_id) if request_id else ""
        if refused.reason == NOT_LINKED:
            return Reply(Verdict.NOT_LINKED, refused.message, refused.what_to_do)
        if refused.reason in _SIGN_IN_NEEDED and link:
            return Reply(Verdict.SIGN_IN, "Sign in anew to decide about this.", "Open the page.", link)
        return Reply(Verdict.REFUSED, refused.message, refused.what_to_do)

    async def _note(self, person: ChatPerson, refused: Refused, request_id: str, did: str) -> None:
        """Somebody tried what they may not: that is an event of its own (R29)."""
        contact = await self._people.whose(person)
        user_id = "" if contact is None else contact.user_id
        who = user_id or f"Somebody whom nobody knows ({person.key})"
        event = Event(
            "chat.refused",
            self._clock(),
            request_id if _ID.fullmatch(request_id) else person.kind,
            f"{who} tried to {did} in {person.kind}: {refused.message}",
            actor_id=user_id,
            source_address=source_of(person),
            details={"kind": person.kind, "key": person.key, "reason": refused.reason},
        )
        async with self._database.transaction() as tx:
            await events.append(tx.connection, event)


def _impossible(could: Possible, wanted: Action) -> Refused:
    if could.sign_in_again and wanted is not Action.REVOKE:
        return Refused(Kind.PERMISSION_DENIED, _STEP_UP, "Deciding about this needs a fresh sign-in.")
    why = could.why_not if wanted is not Action.REVOKE else ""
    return Refused(
        Kind.PERMISSION_DENIED,
        "NOT_POSSIBLE",
        why or f"You can't {wanted.value} this, or not any more.",
        "See how it stands: jit requests show",
    )


def _named(request_id: str) -> str:
    """As the audit log may have it: whoever tampers with a click could send anything."""
    return request_id if _ID.fullmatch(request_id) else "what is no request"


def _known_form(request_id: str) -> str:
    """Raises Refused REQUEST_NOT_FOUND for what can be none."""
    if not _ID.fullmatch(request_id):
        raise not_found("of that id")
    return request_id

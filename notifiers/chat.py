"""What people do in a chat, in the same terms for every service: who did what, and what they are told about it.

A notifier whose messages can be acted on is a `ChatNotifier`: it takes what the service sends, by HTTP or over a
connection of its own, proves that the service sent it, and hands it to the gateway's `Desk`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from notifiers.model import Action, Subject
from notifiers.ports import Notifier


@dataclass(frozen=True, slots=True)
class ChatPerson:
    """Somebody as the service knows them.

    `key` never changes and is nobody else's: workspace or tenant, a slash, the user's id there. `address` is where
    the notifier can reach them. `is_outsider`: of another organization, as in a shared channel; they are refused
    whatever they do.
    """

    kind: str  # "slack", "teams"
    key: str
    address: Mapping[str, str]
    is_outsider: bool = False


@dataclass(frozen=True, slots=True)
class Click:
    """What somebody did to a request. `shown_level`: the level (from 1; 0: none) that the message showed; a
    decision about another one is refused. None: it showed none."""

    person: ChatPerson
    request_id: str
    action: Action
    comment: str = ""
    shown_level: int | None = None


class Verdict(StrEnum):
    DONE = "done"
    REFUSED = "refused"
    NOT_LINKED = "not_linked"
    """The gateway doesn't know whose chat identity that is."""
    SIGN_IN = "sign_in"
    """The level wants a fresh sign-in: the decision is taken on the page `link` instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the person is told: plain text of the gateway's, to be escaped like any other."""

    verdict: Verdict
    message: str
    what_to_do: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A request as it is now, and what one person could do to it. `sign_in_again`: deciding needs the page."""

    subject: Subject
    at: datetime
    actions: tuple[Action, ...]
    sign_in_again: bool = False
    link: str = ""


class Desk(Protocol):
    """Where what people do in a chat is decided. Nothing is raised for what they do wrong."""

    async def decide(self, click: Click) -> Reply:
        """Decides as `jit approve`, `deny` and `revoke` do, under the same rules."""

    async def link(self, person: ChatPerson, code: str) -> Reply:
        """Binds the chat identity to whoever got the code by `jit link` (R31)."""

    async def standing(
        self, person: ChatPerson, request_id: str, wanted: Action | None = None
    ) -> Standing | Reply:
        """What that person may see of a request; a Reply says why it is nothing. Decides nothing.

        `wanted`: what they are about to do. A Reply says why they can't, which is then written down as refused.
        """


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request of HTTP. `headers` have lower-case names."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    status: int = 200
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json"


class NotFromThere(Exception):
    """The service did not send this. The text says why, for the log, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that the service sent a request.

    `once`: of this request and no other. `until`, with a time zone: so long it is remembered; later every gateway
    refuses it, also one whose clock is behind.
    """

    once: str = field(repr=False)
    until: datetime


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service posts to: a path of the web listener, with the channel's name before it.

    `prove` raises NotFromThere unless the service sent it, and runs before anything of the body is read otherwise.
    What it returns is taken once, by all gateways together.
    """

    path: str
    prove: Callable[[Incoming], Awaitable[Proof]]
    answer: Callable[[Incoming, Desk], Awaitable[Outgoing]]
    max_body_bytes: int = 64 << 10


@runtime_checkable
class ChatNotifier(Notifier, Protocol):
    """A notifier whose messages can be acted on."""

    endpoints: Sequence[Endpoint]

    async def listen(self, desk: Desk) -> None:
        """Takes what the service sends over a connection of its own, until cancelled. Returns at once where it
        posts to the endpoints instead. Raises NotDelivered; it is called again later."""

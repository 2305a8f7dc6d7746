"""What people are told: a notice, whom it is for, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What happened, in words that never change: operators choose by them what a channel gets (R30)."""

    APPROVAL_NEEDED = "approval_needed"
    """To the approvers of the level that is waited for."""
    REMINDER = "reminder"
    """The same again: nobody has decided for a while (R22)."""
    ESCALATION = "escalation"
    """To those who may decide from now on, because the others did not (R22)."""
    PENDING_ENDS_SOON = "pending_ends_soon"
    APPROVAL_GIVEN = "approval_given"
    APPROVAL_WITHDRAWN = "approval_withdrawn"
    APPROVED = "approved"
    REJECTED = "rejected"
    FAILED = "failed"
    CONFLICT = "conflict"
    """The policies contradict each other: to those who can mend them (R9)."""
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    WINDOW_ENDS_SOON = "window_ends_soon"
    REVOKED = "revoked"
    RETURNED = "returned"
    EXPIRED = "expired"


class Action(StrEnum):
    """What the reader of a notice can do about it. Whether they may is asked again when they do."""

    APPROVE = "approve"
    DENY = "deny"
    REVOKE = "revoke"


class Relation(StrEnum):
    """Why somebody is told."""

    REQUESTER = "requester"
    APPROVER = "approver"
    """Asked now, or asked before: then it is told what became of the request."""
    WATCHER = "watcher"
    """A place or an address that an operator named: a channel, a mailing list."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a channel brings a notice to. `address` is in the channel's own form: a chat user's or channel's id, a
    mail address. `user_id` is the directory's, empty for a place."""

    relation: Relation
    address: Mapping[str, str]
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """One approval or denial: who, at which level (from 1), when, and what they said."""

    user_id: str
    level: int
    at: datetime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class LevelView:
    """One level of the plan: who is named ("user alice", "group sre"), how many must approve, how many have."""

    approvers: tuple[str, ...]
    needed: int
    given: int


@dataclass(frozen=True, slots=True)
class Subject:
    """The access request as it was when the notice was made. What people wrote is theirs: escape it for the
    channel before cutting it. Times are aware."""

    request_id: str
    requester: str
    requester_name: str
    reason: str
    account: str
    region: str
    node_id: str
    node_name: str
    status: str  # Pending, Approved, Failed, Rejected, Cancelled, TimedOut, Revoked, Returned, Expired
    opened_at: datetime
    policy: str = ""
    policy_version: int = 0
    level: int = 0  # the level that is waited for, from 1; 0: none
    levels: tuple[LevelView, ...] = ()
    decisions: tuple[Decided, ...] = ()
    access_hours: float = 0  # how long the window will be, or is
    decide_before: datetime | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""  # the user who did that; empty: time or the gateway itself
    end_reason: str = ""  # an id, such as NO_POLICY
    end_note: str = ""
    conflict: tuple[str, ...] = ()  # the policies and tags that contradict each other, a line each
    step_up: bool = False  # the level wants a fresh sign-in: nothing is decided in the channel itself


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. `event` is the number of the event in the audit log: of two notices about one request,
    the one with the higher number tells the later state."""

    kind: NoticeKind
    event: int
    at: datetime
    actor: str  # the user who did it; empty: time or the gateway itself
    subject: Subject
    link: str = ""  # the request's page; empty: there is none
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice for one recipient by one channel.

    `id` is the same at every try and unique among all deliveries: the idempotency key. `first` says where the
    first message about this request for this recipient stands, in the channel's own form, if one was sent: a
    later notice updates it (and may say more in its thread). `actions` is what the recipient could do now.
    """

    id: str
    notice: Notice
    recipient: Recipient
    actions: tuple[Action, ...] = ()
    first: Mapping[str, str] | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """It was delivered. `reference` says where the message stands, in the channel's own form, at most 1 KiB of
    JSON. Of a later notice: where the message stands that further ones update, `first` again, or what took its
    place because it was deleted. None: as before; if there was none, later notices make messages of their own."""

    reference: Mapping[str, str] | None = None

"""What an access request is: its plan, its approvals, its status (R15 to R24)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

MAX_ACCESS_HOURS = 336
MAX_LEVELS = 5
MAX_APPROVERS = 5
DEFAULT_PENDING_TIMEOUT = timedelta(days=7)
DEFAULT_MEMBERSHIP_MAX_AGE = timedelta(hours=24)
FIRST_SESSION_WITHIN = timedelta(hours=24)
AUTO_APPROVED_WINDOW = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(minutes=1)
"""How far the clocks of two gateways may disagree before a time from the future is distrusted."""


class Status(StrEnum):
    PENDING = "Pending"
    APPROVED = "Approved"
    FAILED = "Failed"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    REVOKED = "Revoked"
    RETURNED = "Returned"
    EXPIRED = "Expired"

    @property
    def is_final(self) -> bool:
        """Nothing leaves a final status."""
        return self not in (Status.PENDING, Status.APPROVED)


class EndReason(StrEnum):
    """Why a request ended. Only the first three can fail a request at its opening."""

    NO_POLICY = "NO_POLICY"
    POLICY_CONFLICT = "POLICY_CONFLICT"
    DISABLED = "DISABLED"
    USER_LOCKED = "USER_LOCKED"
    USER_REMOVED = "USER_REMOVED"
    ROLE_REVOKED = "ROLE_REVOKED"
    NODE_LOCKED = "NODE_LOCKED"
    NODE_REMOVED = "NODE_REMOVED"
    TAGS_CHANGED = "TAGS_CHANGED"
    REQUESTER_CHANGED = "REQUESTER_CHANGED"
    DENIED = "DENIED"
    CANCELLED = "CANCELLED"
    NOT_DECIDED_IN_TIME = "NOT_DECIDED_IN_TIME"
    REVOKED_BY_APPROVER = "REVOKED_BY_APPROVER"
    REVOKED_BY_ADMINISTRATOR = "REVOKED_BY_ADMINISTRATOR"
    GIVEN_BACK = "GIVEN_BACK"
    WINDOW_ENDED = "WINDOW_ENDED"
    NO_FIRST_SESSION = "NO_FIRST_SESSION"


OPENING_FAILURES = frozenset({EndReason.NO_POLICY, EndReason.POLICY_CONFLICT, EndReason.DISABLED})


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """The policy that decides, pinned by version when the request is made (R21)."""

    name: str
    version: int


class ApproverKind(StrEnum):
    USER = "user"
    GROUP = "group"
    IAM_USER = "iam_user"


@dataclass(frozen=True, slots=True)
class Approver:
    """One entry of a level: a user id, a group id, or the name of an IAM user."""

    kind: ApproverKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class Level:
    """One to five approvers, `needed` distinct persons of whom must approve (R15, R17).

    `escalate_after` the level began, those of `escalate_to` may decide as well (R22). `sign_in_within`: only who
    has signed in that recently decides.
    """

    approvers: tuple[Approver, ...]
    needed: int = 1
    escalate_after: timedelta | None = None
    escalate_to: tuple[Approver, ...] = ()
    sign_in_within: timedelta | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.approvers) <= MAX_APPROVERS:
            raise ValueError(f"a level has 1 to {MAX_APPROVERS} approvers, not {len(self.approvers)}")
        if self.needed < 1:
            raise ValueError(f"a level needs at least 1 approval, not {self.needed}")
        if all(a.kind is not ApproverKind.GROUP for a in self.approvers) and self.needed > len(
            set(self.approvers)
        ):
            raise ValueError(f"{len(set(self.approvers))} approvers can never give {self.needed} approvals")
        if (self.escalate_after is None) != (not self.escalate_to) or len(self.escalate_to) > MAX_APPROVERS:
            raise ValueError(f"a level escalates to 1 to {MAX_APPROVERS} approvers after a time, or not at all")
        if any(span is not None and span <= timedelta(0) for span in (self.escalate_after, self.sign_in_within)):
            raise ValueError("a level's times are longer than nothing")

    @property
    def named(self) -> tuple[Approver, ...]:
        """Everybody who may decide here, now or later."""
        return self.approvers + self.escalate_to


class WindowStarts(StrEnum):
    APPROVAL = "approval"
    FIRST_SESSION = "first_session"


@dataclass(frozen=True, slots=True)
class ApprovalPlan:
    """What the request needs of its manual policy, as values of its own.

    Raises ValueError when the values break R15; a stored policy never does.
    """

    policy: PolicyRef
    access_duration: timedelta
    levels: tuple[Level, ...]
    pending_timeout: timedelta = DEFAULT_PENDING_TIMEOUT
    window_starts: WindowStarts = WindowStarts.APPROVAL
    distinct_persons_per_request: bool = True
    remind_every: timedelta | None = None

    def __post_init__(self) -> None:
        if not timedelta(hours=1) <= self.access_duration <= timedelta(hours=MAX_ACCESS_HOURS):
            raise ValueError(f"an access duration is 1 to {MAX_ACCESS_HOURS} hours")
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise ValueError(f"a plan has 1 to {MAX_LEVELS} levels, not {len(self.levels)}")
        if self.pending_timeout <= timedelta(0):
            raise ValueError("a pending timeout is longer than nothing")


@dataclass(frozen=True, slots=True)
class AutoApproval:
    """An auto-approval policy permits: approved at once (R7)."""

    policy: PolicyRef


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing to approve by: no policy, a conflict, or access is disabled (R4, R9, R11).

    `details` is JSON-able and kept with the request, such as the policies and tags in conflict.
    """

    reason: EndReason
    explanation: str
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reason not in OPENING_FAILURES:
            raise ValueError(f"{self.reason} does not fail a request at its opening")


Plan = AutoApproval | ApprovalPlan | Failure
"""What the policies decided about the request when it was made."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user id, and the human behind it where the directory knows that several ids are one (R17)."""

    user_id: str
    person_id: str | None = None

    def is_same(self, other: "Person") -> bool:
        same_human = self.person_id is not None and self.person_id == other.person_id
        return self.user_id == other.user_id or same_human


@dataclass(frozen=True, slots=True)
class Actor:
    """Who gives a command, with the membership it is judged on (R17, R31).

    `iam_user` is the IAM user this caller is known as, if any. `membership_checked_at` is when the groups
    were last read from their source. `is_administrator` is about this request's account and Region.
    `signed_in_at` is when the person last proved who they are to make this command; None: this way can't tell.
    """

    user_id: str
    membership_checked_at: datetime
    groups: frozenset[str] = frozenset()
    person_id: str | None = None
    iam_user: str | None = None
    is_administrator: bool = False
    source_address: str = ""
    signed_in_at: datetime | None = None

    @property
    def person(self) -> Person:
        return Person(self.user_id, self.person_id)


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval of one level (counted from 0), and the entry of the level that made it count."""

    level: int
    person: Person
    through: Approver
    at: datetime
    comment: str = ""
    source_address: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """An access request. All times are aware; `hours` is what was asked for, if anything.

    `window_start` and `window_end` are None until the access duration counts. `updated_at` is the time of
    the last event. `end_reason` and `ended_at` are set exactly when the status is final; `ended_at` is when
    access or waiting was over, which may be earlier than the event that says so. `ended_by`: the user who did
    that; empty: time or the gateway itself.
    """

    id: str
    requester: Person
    account: str
    region: str
    node_id: str
    reason: str
    hours: int | None
    plan: Plan
    status: Status
    opened_at: datetime
    updated_at: datetime
    approvals: tuple[Approval, ...] = ()
    approved_at: datetime | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    end_note: str = ""
    ended_by: str = ""

    @property
    def policy(self) -> PolicyRef | None:
        """The pinned policy, None when the request failed for want of one."""
        return None if isinstance(self.plan, Failure) else self.plan.policy

    @property
    def current_level(self) -> int | None:
        """The level (from 0) whose approvals are being gathered; None when there is none (R16)."""
        if self.status is not Status.PENDING or not isinstance(self.plan, ApprovalPlan):
            return None
        for index, level in enumerate(self.plan.levels):
            if len(self.approvals_of(index)) < level.needed:
                return index
        return None

    @property
    def level_since(self) -> datetime:
        """When the current level began to be waited for: with the last approval of the one before (R16, R22)."""
        level = self.current_level
        before = self.approvals_of(level - 1) if level else ()
        return max((approval.at for approval in before), default=self.opened_at)

    def approvals_of(self, level: int) -> tuple[Approval, ...]:
        return tuple(a for a in self.approvals if a.level == level)

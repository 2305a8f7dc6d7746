"""What comes of a command: a transition with its events, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from approvals.model import PolicyRef, Request, Status


class EventKind(StrEnum):
    OPENED = "request.opened"
    """It waits for approvals; an auto-approved request begins with APPROVED, a failed one with FAILED."""
    APPROVAL_GIVEN = "request.approval_given"
    APPROVAL_WITHDRAWN = "request.approval_withdrawn"
    LEVEL_COMPLETED = "request.level_completed"
    APPROVED = "request.approved"
    WINDOW_STARTED = "request.window_started"
    FAILED = "request.failed"
    REJECTED = "request.rejected"
    CANCELLED = "request.cancelled"
    TIMED_OUT = "request.timed_out"
    REVOKED = "request.revoked"
    RETURNED = "request.returned"
    EXPIRED = "request.expired"


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """One line of the request's story (R29): who did what, when, from where, under which policy version.

    `status` is the request's status after the event. `actor` is a user id, None when time or the system
    acted. `details` is JSON-able; levels in it count from 1.
    """

    kind: EventKind
    request_id: str
    at: datetime
    status: Status
    actor: str | None
    source_address: str
    policy: PolicyRef | None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """The request as it is now. No events: the command was right and there was nothing to change."""

    request: Request
    events: tuple[RequestEvent, ...] = ()


class RefusalReason(StrEnum):
    NOT_FOUND = "NOT_FOUND"
    ALREADY_OPEN = "ALREADY_OPEN"
    INVALID_ID = "INVALID_ID"
    INVALID_REASON = "INVALID_REASON"
    INVALID_COMMENT = "INVALID_COMMENT"
    INVALID_HOURS = "INVALID_HOURS"
    WRONG_STATUS = "WRONG_STATUS"
    TOO_LATE = "TOO_LATE"
    NOT_DUE = "NOT_DUE"
    STALE_MEMBERSHIP = "STALE_MEMBERSHIP"
    OWN_REQUEST = "OWN_REQUEST"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    STEP_UP_NEEDED = "STEP_UP_NEEDED"
    ALREADY_APPROVED = "ALREADY_APPROVED"
    NOTHING_TO_WITHDRAW = "NOTHING_TO_WITHDRAW"
    NOT_REQUESTER = "NOT_REQUESTER"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing changed. `message` says what was wrong, `what_to_do` what helps; one line each."""

    reason: RefusalReason
    message: str
    what_to_do: str

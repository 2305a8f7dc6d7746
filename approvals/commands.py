"""What can be asked of an access request; the life table's second column."""

from collections.abc import Mapping
from dataclasses import dataclass

from approvals.model import Actor, EndReason, Plan

SYSTEM_REASONS = frozenset(
    {
        EndReason.DISABLED,
        EndReason.USER_LOCKED,
        EndReason.USER_REMOVED,
        EndReason.ROLE_REVOKED,
        EndReason.NODE_LOCKED,
        EndReason.NODE_REMOVED,
    }
)
REEVALUATED: Mapping[EndReason, str] = {
    EndReason.TAGS_CHANGED: "The node's tags changed",
    EndReason.REQUESTER_CHANGED: "The requester's groups or attributes changed",
}
"""Changes that the policies are asked again for, in words."""


@dataclass(frozen=True, slots=True)
class Open:
    """Make a request. `plan` is what the policies decided; `hours` can only shorten its window (R21, R23)."""

    request_id: str
    actor: Actor
    account: str
    region: str
    node_id: str
    reason: str
    plan: Plan
    hours: int | None = None


@dataclass(frozen=True, slots=True)
class Approve:
    actor: Actor
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    actor: Actor
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the own approvals of a pending request back (R19).

    An administrator takes back whose approvals `approver_id` names, or, without one and having given none,
    everybody's.
    """

    actor: Actor
    approver_id: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    actor: Actor


@dataclass(frozen=True, slots=True)
class Revoke:
    """End an open window: an approver who approved, or an administrator (R19)."""

    actor: Actor
    comment: str = ""


@dataclass(frozen=True, slots=True)
class GiveBack:
    actor: Actor


@dataclass(frozen=True, slots=True)
class Tick:
    """Let time act: refused as not due while `next_deadline` lies ahead."""


@dataclass(frozen=True, slots=True)
class SystemRevoke:
    """Access is disabled, the user or node is locked or gone, or the user may not ask any more. `actor` is who did
    that, if a person did.

    A pending request ends as Failed, a window as Revoked. Raises ValueError for a reason outside
    `SYSTEM_REASONS`.
    """

    reason: EndReason
    actor: Actor | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.reason not in SYSTEM_REASONS:
            raise ValueError(f"{self.reason} is no reason for the system to end a request")


@dataclass(frozen=True, slots=True)
class Reevaluate:
    """What policies look at has changed: `plan` is what they decide now (R3), `actor` who changed it.

    `reason` says what it was. Raises ValueError for a reason outside `REEVALUATED`.
    """

    plan: Plan
    actor: Actor | None = None
    reason: EndReason = EndReason.TAGS_CHANGED

    def __post_init__(self) -> None:
        if self.reason not in REEVALUATED:
            raise ValueError(f"{self.reason} is nothing that policies look at")


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The requester starts a session; the first one starts the window where the policy says so (R21, R31)."""

    actor: Actor


Command = (
    Open
    | Approve
    | Deny
    | Withdraw
    | Cancel
    | Revoke
    | GiveBack
    | Tick
    | SystemRevoke
    | Reevaluate
    | SessionStarted
)

"""What can be asked of an access request; the life table's second column."""

from dataclasses import dataclass

from approvals.model import Actor, EndReason, Plan

SYSTEM_REASONS = frozenset(
    {
        EndReason.DISABLED,
        EndReason.USER_LOCKED,
        EndReason.USER_REMOVED,
        EndReason.NODE_LOCKED,
        EndReason.NODE_REMOVED,
    }
)


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
    """Take the own approvals of a pending request back; an administrator also others', by user id (R19)."""

    actor: Actor
    approver_id: str | None = None


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
    """Access is disabled, or the user or node is locked or gone. `actor` is who did that, if a person did.

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
    """The node's tags changed; `plan` is what the policies decide now (R3), `actor` who changed them."""

    plan: Plan
    actor: Actor | None = None


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

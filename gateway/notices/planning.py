"""Who is told what of an event, by one channel: values in, values out (R9, R30)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from approvals.eligibility import asked as asked_at
from approvals.model import ApprovalPlan, Approver, ApproverKind, EndReason, Level, Request, Status
from notifiers.model import Action, NoticeKind, Recipient, Relation

KINDS: Final[Mapping[str, NoticeKind]] = {
    "access_request.opened": NoticeKind.APPROVAL_NEEDED,
    "access_request.level_completed": NoticeKind.APPROVAL_NEEDED,
    "access_request.approval_given": NoticeKind.APPROVAL_GIVEN,
    "access_request.approval_withdrawn": NoticeKind.APPROVAL_WITHDRAWN,
    "access_request.approved": NoticeKind.APPROVED,
    "access_request.rejected": NoticeKind.REJECTED,
    "access_request.failed": NoticeKind.FAILED,
    "access_request.cancelled": NoticeKind.CANCELLED,
    "access_request.timed_out": NoticeKind.TIMED_OUT,
    "access_request.revoked": NoticeKind.REVOKED,
    "access_request.returned": NoticeKind.RETURNED,
    "access_request.expired": NoticeKind.EXPIRED,
    "access_request.reminder": NoticeKind.REMINDER,
    "access_request.escalated": NoticeKind.ESCALATION,
    "access_request.pending_ends_soon": NoticeKind.PENDING_ENDS_SOON,
    "access_request.window_ends_soon": NoticeKind.WINDOW_ENDS_SOON,
}
FOR_DECIDERS: Final = frozenset({NoticeKind.APPROVAL_NEEDED, NoticeKind.REMINDER, NoticeKind.ESCALATION})
"""What asks for a decision: pointless once there is one."""
EVERYWHERE: Final = "*"


@dataclass(frozen=True, slots=True)
class Watcher:
    """A place or an address that is told of what happens in some accounts and Regions.

    `groups`: only where one of these decides, as for the mailbox of a role; empty: whoever decides.
    """

    address: Mapping[str, str]
    accounts: frozenset[str] = frozenset({EVERYWHERE})
    regions: frozenset[str] = frozenset({EVERYWHERE})
    notices: frozenset[NoticeKind] = frozenset(NoticeKind)
    groups: frozenset[str] = frozenset()

    def watches(self, kind: NoticeKind, life: Request, now: datetime) -> bool:
        return (
            kind in self.notices
            and not self.accounts.isdisjoint({EVERYWHERE, life.account})
            and not self.regions.isdisjoint({EVERYWHERE, life.region})
            and (not self.groups or not self.groups.isdisjoint(_deciding_groups(kind, life, now)))
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """A channel, as far as one request goes: whom it can reach, and whom it told before.

    `contacts`: addresses by user id, as they are now. `told`: the approvers who were told of the request.
    """

    notices: frozenset[NoticeKind]
    watchers: tuple[Watcher, ...]
    contacts: Mapping[str, Mapping[str, str]]
    told: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Planned:
    """One thing to tell one recipient."""

    kind: NoticeKind
    recipient: Recipient
    actions: tuple[Action, ...]


def plan(event_type: str, life: Request, asked: frozenset[str], reach: Reach, now: datetime) -> list[Planned]:
    """`asked`: who could decide about the request now. The request is as it is now, which may be later than the
    event; so what is said is never out of date."""
    kind = KINDS.get(event_type)
    if kind is None or (kind in FOR_DECIDERS and life.status is not Status.PENDING):
        return []
    return [
        *_watchers(kind, life, reach, now),
        *_requester(kind, life, reach),
        *_approvers(kind, life, asked, reach),
    ]


def _watchers(kind: NoticeKind, life: Request, reach: Reach, now: datetime) -> list[Planned]:
    if kind is NoticeKind.FAILED and life.end_reason is EndReason.POLICY_CONFLICT:
        kind = NoticeKind.CONFLICT
    if kind not in reach.notices:
        return []
    actions = _open_to_all(life)
    return [
        Planned(kind, Recipient(Relation.WATCHER, watcher.address), actions)
        for watcher in reach.watchers
        if watcher.watches(kind, life, now)
    ]


def _requester(kind: NoticeKind, life: Request, reach: Reach) -> list[Planned]:
    user_id = life.requester.user_id
    address = reach.contacts.get(user_id)
    if address is None or kind in FOR_DECIDERS or kind not in reach.notices:
        return []
    return [Planned(kind, Recipient(Relation.REQUESTER, address, user_id), ())]


def _approvers(kind: NoticeKind, life: Request, asked: frozenset[str], reach: Reach) -> list[Planned]:
    """Whoever was told before is told what became of it, whatever the channel's choice of notices: a message with
    buttons that do nothing any more helps nobody."""
    if kind is NoticeKind.WINDOW_ENDS_SOON:
        return []
    again = {
        user_id: NoticeKind.APPROVAL_GIVEN if kind is NoticeKind.APPROVAL_NEEDED and user_id not in asked else kind
        for user_id in reach.told
        if kind not in (NoticeKind.REMINDER, NoticeKind.ESCALATION) or user_id in asked
    }
    is_asking = kind in FOR_DECIDERS and kind in reach.notices
    first = dict.fromkeys(sorted(asked - reach.told), kind) if is_asking else {}
    return [
        Planned(said, Recipient(Relation.APPROVER, address, user_id), _actions(life, user_id, asked))
        for user_id, said in {**again, **first}.items()
        if (address := reach.contacts.get(user_id)) is not None  # else it was removed meanwhile
    ]


def _deciding_groups(kind: NoticeKind, life: Request, now: datetime) -> frozenset[str]:
    """Those that are asked now, of what asks for a decision; else those of any level."""
    if not isinstance(life.plan, ApprovalPlan):
        return frozenset()
    levels, current = life.plan.levels, life.current_level
    if kind in FOR_DECIDERS and current is not None:
        named = _asked_by(kind, life, levels[current], now)
    else:
        named = tuple(approver for level in levels for approver in level.named)
    return frozenset(approver.id for approver in named if approver.kind is ApproverKind.GROUP)


def _asked_by(kind: NoticeKind, life: Request, level: Level, now: datetime) -> tuple[Approver, ...]:
    match kind:
        case NoticeKind.APPROVAL_NEEDED:
            return level.approvers
        case NoticeKind.ESCALATION:
            return level.named
        case _:
            return asked_at(life, level, now)


def _actions(life: Request, user_id: str, asked: frozenset[str]) -> tuple[Action, ...]:
    """What that person could do. Whether they may is asked again when they do it."""
    has_approved = any(approval.person.user_id == user_id for approval in life.approvals)
    if life.status is Status.PENDING and user_id in asked and not has_approved:
        return (Action.APPROVE, Action.DENY)
    if has_approved and not life.status.is_final:
        return (Action.REVOKE,)
    return ()


def _open_to_all(life: Request) -> tuple[Action, ...]:
    """In a place where many read, for those of them who may."""
    if life.status is Status.PENDING:
        return (Action.APPROVE, Action.DENY)
    return (Action.REVOKE,) if life.status is Status.APPROVED and life.approvals else ()


def is_superfluous(relation: str, was_told: bool, status: str) -> bool:
    """Whether somebody need not hear of a request that was decided before they could be asked."""
    return relation == Relation.APPROVER and not was_told and status != Status.PENDING

"""What is worth knowing of a policy or a request that is not wrong in itself (R15, R17)."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import RoleGrant, User
from gateway.identity.permissions import allows
from gateway.nodes.model import Node
from gateway.store import directory, targets
from jitgate.v1 import annotations_pb2 as declared
from policy.model import Approver, ApproverType, Level, ManualPolicy

_MEMBERS_LOOKED_AT = 1000


async def about(connection: AsyncConnection, policy: ManualPolicy, now: datetime) -> tuple[str, ...]:
    """Approvers who are not there or lack the approver role, and levels that nobody could satisfy today.

    Warnings and no refusal: people join and leave groups after the policy is written. The requester, who never
    counts, is not known yet.
    """
    found: list[str] = []
    everybody: set[str] = set()
    for number, level in enumerate(policy.levels, start=1):
        eligible: set[str] = set()
        for approver in level.approvers:
            persons, complaint = await _persons(connection, policy, approver, now)
            eligible |= persons
            found += [f"Level {number}: {complaint}."] if complaint else []
        for approver in level.escalate_to:
            _, complaint = await _persons(connection, policy, approver, now)
            found += [f"Level {number}, escalation: {complaint}."] if complaint else []
        everybody |= eligible
        if len(eligible) < level.approvals_needed:
            found.append(
                f"Level {number} needs {level.approvals_needed} approvals; {_persons_can(len(eligible))} today."
            )
    needed = sum(level.approvals_needed for level in policy.levels)
    if policy.distinct_persons_in_request and _each_enough(policy.levels, everybody) and len(everybody) < needed:
        found.append(f"All levels together need {needed} different persons; {_persons_can(len(everybody))} today.")
    return tuple(dict.fromkeys(found))


def _each_enough(levels: Iterable[Level], everybody: set[str]) -> bool:
    return all(level.approvals_needed <= len(everybody) for level in levels)


def _persons_can(count: int) -> str:
    return f"only {count} {'person' if count == 1 else 'persons'} could approve"


async def _persons(
    connection: AsyncConnection, policy: ManualPolicy, approver: Approver, now: datetime
) -> tuple[set[str], str]:
    """Who could decide by this entry today, and what is wrong with it (empty: nothing)."""
    if approver.type is ApproverType.IAM_USER:
        return set(), f"IAM user {approver.id} cannot be recognized, as nobody signs in with AWS IAM here"
    if approver.type is ApproverType.GROUP:
        members = await directory.page(connection, now, group_id=approver.id, limit=_MEMBERS_LOOKED_AT)
        able = {member.id for member in members if await _decides(connection, policy, member.id, now)}
        if not members:
            return set(), f"group {approver.id} has no members"
        return able, "" if able else f"no member of group {approver.id} holds the approver role"
    if await _decides(connection, policy, approver.id, now):
        return {approver.id}, ""
    user = await directory.get(connection, approver.id, now)
    if user is None or user.removed_at is not None:
        return set(), f"there is no user {approver.id}"
    why = "is locked" if user.locked_at is not None else "does not hold the approver role"
    return set(), f"user {approver.id} {why}"


async def _decides(connection: AsyncConnection, policy: ManualPolicy, user_id: str, now: datetime) -> bool:
    known = await directory.identity(connection, user_id, now)
    if known is None or not known[0].may_act:
        return False
    return _holds(known[1], declared.PERMISSION_DECIDE_ACCESS, policy.account, policy.region)


async def hindrances(
    connection: AsyncConnection, user: User, grants: tuple[RoleGrant, ...], node: Node
) -> tuple[str, ...]:
    """Why a request would not get as far as the policies, or would fail whatever they say."""
    enabled = await targets.is_enabled(connection, node.account, node.region)
    asks = _holds(grants, declared.PERMISSION_REQUEST_ACCESS, node.account, node.region)
    found = {
        f"{user.id} is removed": user.removed_at is not None,
        f"{user.id} is locked": user.locked_at is not None,
        f"{user.id} may not ask for nodes of account {node.account}, Region {node.region}": not asks,
        f"{node.name} is locked": node.locked,
        "just-in-time access is not enabled there": not enabled,
    }
    return tuple(text for text, holds in found.items() if holds)


def _holds(
    grants: Iterable[RoleGrant], permission: "declared.Permission.ValueType", account: str, region: str
) -> bool:
    return any(allows(grant, permission, account, region) for grant in grants)

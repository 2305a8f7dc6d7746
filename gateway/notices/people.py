"""Who is asked about a request at this moment: names of its level, resolved through the directory (R17)."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.eligibility import asked
from approvals.model import ApprovalPlan, Approver, ApproverKind, Request
from gateway.identity.permissions import allows
from gateway.store import directory
from jitgate.v1 import annotations_pb2 as declared

MEMBERS_TOLD = 1000
"""Of one group; whoever is beyond that sees the request all the same: jit requests list."""


async def deciders(connection: AsyncConnection, life: Request, now: datetime) -> frozenset[str]:
    """Ids of those who could decide about the request now; never its requester.

    Whether the group membership is fresh enough is asked when they decide: told of it, they can sign in again.
    """
    level = life.current_level
    if level is None or not isinstance(life.plan, ApprovalPlan):
        return frozenset()
    named = await _named(connection, asked(life, life.plan.levels[level], now), now)
    return frozenset([user_id for user_id in named if await _may_decide(connection, life, user_id, now)])


async def _named(connection: AsyncConnection, approvers: Iterable[Approver], now: datetime) -> set[str]:
    found: set[str] = set()
    for approver in approvers:
        if approver.kind is ApproverKind.USER:
            found.add(approver.id)
        elif approver.kind is ApproverKind.GROUP:
            members = await directory.page(connection, now, group_id=approver.id, limit=MEMBERS_TOLD)
            found |= {member.id for member in members}
    return found


async def _may_decide(connection: AsyncConnection, life: Request, user_id: str, now: datetime) -> bool:
    if user_id == life.requester.user_id:
        return False
    known = await directory.identity(connection, user_id, now)
    if known is None or not known[0].may_act:
        return False
    decide = declared.PERMISSION_DECIDE_ACCESS
    return any(allows(grant, decide, life.account, life.region) for grant in known[1])

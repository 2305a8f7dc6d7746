"""What a request stands on, read afresh in the transaction that relies on it: the person, the node, the scope."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.model import Actor
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.nodes.errors import node_not_found
from gateway.nodes.model import Node
from gateway.store import directory, nodes
from jitgate.v1 import annotations_pb2 as declared

# Node and organization administrators: who may end the sessions of a scope may end the windows they come from.
REVOKE_OTHERS = declared.PERMISSION_TERMINATE_SESSIONS


async def afresh(connection: AsyncConnection, caller: Caller, now: datetime) -> Caller:
    """The caller with the groups, tags and grants of this moment; the rest is what the client certificate proved.

    Raises Refused USER_LOCKED or USER_REMOVED.
    """
    known = await directory.identity(connection, caller.user.id, now)
    if known is None or known[0].removed_at is not None:
        raise Refused(
            Kind.PERMISSION_DENIED,
            "USER_REMOVED",
            f"{caller.user.id} is no longer in the directory.",
            "Ask an organization administrator for a new user.",
        )
    user, grants = known
    if user.locked_at is not None:
        raise Refused(
            Kind.PERMISSION_DENIED,
            "USER_LOCKED",
            f"{user.id} is locked: {user.lock_reason}",
            "Ask an administrator to unlock the user: jit unlock --help",
        )
    return replace(caller, user=user, grants=grants)


async def find_node(connection: AsyncConnection, reference: str, scope: tuple[str, str]) -> Node:
    """The node with that id or name in that account and Region. Raises Refused NODE_NOT_FOUND."""
    node = await nodes.find(connection, reference, *scope)
    if node is None:
        raise node_not_found(reference, *scope)
    return node


async def node_to_reach(connection: AsyncConnection, reference: str, scope: tuple[str, str]) -> Node:
    """As `find_node`; raises Refused NODE_LOCKED as well."""
    node = await find_node(connection, reference, scope)
    if node.locked:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "NODE_LOCKED",
            f"{node.name} is locked: {node.lock_reason}",
            "Wait until a node administrator unlocks it.",
            metadata={"node": node.id},
        )
    return node


def actor_of(caller: Caller, account: str, region: str) -> Actor:
    """The caller as the approvals core knows people, with regard to a request of that account and Region.

    No directory tells yet which users are one person, or who is which IAM user: those stay unset.
    """
    user = caller.user
    return Actor(
        user_id=user.id,
        membership_checked_at=user.membership_checked_at,
        groups=user.groups,
        is_administrator=caller.may(REVOKE_OTHERS, account, region),
        source_address=caller.source_address,
        signed_in_at=caller.signed_in_at,
    )

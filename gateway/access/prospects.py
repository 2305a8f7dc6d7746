"""What would become of a request for a node, told to whom it would be (R2, R4, R14)."""

from approvals.model import AutoApproval, Failure, Plan
from gateway.access.compiled import CompiledPolicies
from gateway.access.plan import disabled, plan_of
from gateway.access.principal import principal_of
from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.nodes.model import Node, NodeCheck
from gateway.store import targets
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared
from policy.model import Resource


class AccessProspects:
    """See gateway.nodes.ports.Prospects. Makes no request."""

    def __init__(self, database: Database, compiled: CompiledPolicies) -> None:
        self._database = database
        self._compiled = compiled

    async def of(self, caller: Caller, node: Node) -> tuple[NodeCheck, ...]:
        """Of those who may ask for nodes there, all of it; of others, whether anybody could."""
        scope = (node.account, node.region)
        async with self._database.read() as connection:
            if not await targets.is_enabled(connection, *scope):
                advice = (
                    "Ask an organization administrator: "
                    f"jit targets enable --account {node.account} --region {node.region}"
                )
                return (NodeCheck("access", False, disabled(node).explanation, advice),)
            if not caller.may(declared.PERMISSION_REQUEST_ACCESS, *scope):
                return ()
            try:
                deciding = await self._compiled.deciding(connection, *scope)
                decision = deciding.evaluate(principal_of(caller.user), Resource(node.id, node.tags))
            except Refused as refused:
                return (NodeCheck("access", False, refused.message, refused.what_to_do),)
        return (_told(plan_of(decision.outcome, node), caller, node),)


def _told(plan: Plan, caller: Caller, node: Node) -> NodeCheck:
    who = caller.user.id
    if isinstance(plan, Failure):
        advice = (
            "A policy administrator sees why, and can change it: "
            f"jit policies explain {who} {node.name} --account {node.account} --region {node.region}"
        )
        return NodeCheck("access", False, f"a request of {who} would fail: {plan.explanation}", advice)
    if isinstance(plan, AutoApproval):
        return NodeCheck("access", True, f"a request of {who} would be approved at once")
    return NodeCheck("access", True, f"a request of {who} would wait for approval ({plan.policy.name})")

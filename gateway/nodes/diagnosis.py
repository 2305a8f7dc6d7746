"""Why a node cannot be reached, as far as whoever asks is concerned, and what to do about it."""

from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.nodes.dialing import address
from gateway.nodes.model import SSH, Node, NodeCheck
from gateway.nodes.ports import Prospects
from gateway.nodes.registry import NodeRegistry, Scope
from jitgate.v1 import annotations_pb2 as permissions


class NodeDoctor:
    """Looks at everything between a person and a node."""

    def __init__(self, registry: NodeRegistry, prospects: Prospects) -> None:
        self._registry = registry
        self._prospects = prospects

    async def diagnose(self, caller: Caller, scope: Scope, reference: str) -> tuple[NodeCheck, ...]:
        """Who may change nodes there learns everything; who may only see them, what concerns them, and nothing is
        dialled for them.

        Raises Refused NODE_NOT_FOUND.
        """
        node = await self._registry.get(caller, scope, reference)
        way: tuple[NodeCheck, ...] = (_last_known(node),)
        if caller.may(permissions.PERMISSION_WRITE_NODES, *scope):
            try:
                way = await self._registry.check(caller, scope, node.id)
            except Refused as refused:
                way = (NodeCheck("login", False, refused.message, refused.what_to_do),)
        return (_node(node), *way, *await self._prospects.of(caller, node))


def _node(node: Node) -> NodeCheck:
    if node.locked:
        return NodeCheck(
            "node",
            False,
            f"{node.name} is locked: {node.lock_reason}",
            f"Wait until a node administrator unlocks it: jit unlock --node {node.name}",
        )
    way = "dials the gateway" if node.connector != SSH else address(node.endpoint.host, node.endpoint.port)
    return NodeCheck("node", True, f"{node.name} ({node.id}), {way}")


def _last_known(node: Node) -> NodeCheck:
    """What was found out before, by whoever may have."""
    seen = f"{node.last_seen_at:%Y-%m-%d %H:%M:%S} UTC" if node.last_seen_at else ""
    advice = "Tell a node administrator, whom jit doctor shows more."
    if node.connector == SSH:
        said = f"last looked at {seen}, when it answered" if seen else "not looked at yet"
        return NodeCheck("way", True, f"{said}; jit doctor dials it for node administrators")
    if node.attached_to:
        return NodeCheck("agent", True, "its agent is connected")
    since = f"since {seen}" if seen else "and never was"
    return NodeCheck("agent", False, f"its agent is not connected {since}", advice)

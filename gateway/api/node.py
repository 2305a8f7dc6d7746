"""NodeService: the registry of nodes on the wire (R3, R33)."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.api import values
from gateway.api.current import caller
from gateway.errors import invalid
from gateway.nodes.diagnosis import NodeDoctor
from gateway.nodes.model import Node, NodeCheck, SshEndpoint
from gateway.nodes.registry import NewNode, NodeRegistry
from jitgate.v1 import node_pb2, node_pb2_grpc
from jitgate.v1.common_pb2 import Scope


class NodeService(node_pb2_grpc.NodeServiceServicer):
    def __init__(self, registry: NodeRegistry, doctor: NodeDoctor) -> None:
        self._registry = registry
        self._doctor = doctor

    async def AddNode(self, request: node_pb2.AddNodeRequest, context: object) -> node_pb2.AddNodeResponse:
        if not request.HasField("ssh"):
            raise invalid("ssh", "is missing", "Say where the node's sshd listens: --host and --port.")
        new = NewNode(
            name=request.name,
            scope=values.scope(request.scope),
            endpoint=_endpoint(request.ssh),
            tags=dict(request.tags),
            id=request.id,
            trust_on_first_use=request.trust_on_first_use,
            skip_check=request.skip_check,
        )
        node, checks = await self._registry.add(caller(), new)
        return node_pb2.AddNodeResponse(node=node_message(node), checks=map(_check, checks))

    async def GetNode(self, request: node_pb2.GetNodeRequest, context: object) -> node_pb2.GetNodeResponse:
        node = await self._registry.get(caller(), values.scope(request.scope), request.node)
        return node_pb2.GetNodeResponse(node=node_message(node))

    async def ListNodes(self, request: node_pb2.ListNodesRequest, context: object) -> node_pb2.ListNodesResponse:
        size, key = values.page(request.page)
        scope = values.scope(request.scope) if request.HasField("scope") else None
        found, last = await self._registry.list(caller(), scope, request.filters, size, _after(key))
        token = values.page_token(*last) if last else ""
        return node_pb2.ListNodesResponse(nodes=map(node_message, found), next_page_token=token)

    async def UpdateNode(
        self, request: node_pb2.UpdateNodeRequest, context: object
    ) -> node_pb2.UpdateNodeResponse:
        node = await self._registry.update(
            caller(),
            values.scope(request.scope),
            request.node,
            set_tags=dict(request.set_tags),
            remove_tags=request.remove_tags,
            endpoint=_endpoint(request.ssh) if request.HasField("ssh") else None,
        )
        return node_pb2.UpdateNodeResponse(node=node_message(node))

    async def RemoveNode(
        self, request: node_pb2.RemoveNodeRequest, context: object
    ) -> node_pb2.RemoveNodeResponse:
        await self._registry.remove(caller(), values.scope(request.scope), request.node)
        return node_pb2.RemoveNodeResponse()

    async def CheckNode(self, request: node_pb2.CheckNodeRequest, context: object) -> node_pb2.CheckNodeResponse:
        checks = await self._registry.check(caller(), values.scope(request.scope), request.node)
        return node_pb2.CheckNodeResponse(checks=map(_check, checks))

    async def DiagnoseNode(
        self, request: node_pb2.DiagnoseNodeRequest, context: object
    ) -> node_pb2.DiagnoseNodeResponse:
        findings = await self._doctor.diagnose(caller(), values.scope(request.scope), request.node)
        return node_pb2.DiagnoseNodeResponse(findings=map(_check, findings))

    async def GetNodeTrust(
        self, request: node_pb2.GetNodeTrustRequest, context: object
    ) -> node_pb2.GetNodeTrustResponse:
        trust = await self._registry.trust(caller(), values.scope(request.scope), request.node, request.login)
        return node_pb2.GetNodeTrustResponse(
            node_id=trust.node_id,
            user_ca=trust.user_ca,
            sshd_config=trust.sshd_config,
            principals=trust.principals,
        )


def node_message(node: Node) -> node_pb2.Node:
    """A node as the contract has it."""
    endpoint = node.endpoint
    return node_pb2.Node(
        id=node.id,
        name=node.name,
        scope=Scope(account=node.account, region=node.region),
        tags=node.tags,
        connector=node.connector,
        ssh=node_pb2.SshEndpoint(
            host=endpoint.host,
            port=endpoint.port,
            login=endpoint.login,
            host_keys=endpoint.host_keys,
            host_cas=endpoint.host_cas,
        ),
        properties=node.properties,
        locked=node.locked,
        lock_reason=node.lock_reason,
        created_at=values.timestamp(node.created_at),
        last_seen_at=values.timestamp(node.last_seen_at),
        revision=node.revision,
        connected=bool(node.attached_to),
    )


def _endpoint(message: node_pb2.SshEndpoint) -> SshEndpoint:
    return SshEndpoint(
        host=message.host,
        port=message.port,
        login=message.login,
        host_keys=tuple(message.host_keys),
        host_cas=tuple(message.host_cas),
    )


def _check(check: NodeCheck) -> node_pb2.NodeCheck:
    return node_pb2.NodeCheck(
        step=check.step, passed=check.passed, message=check.message, what_to_do=check.what_to_do
    )


def _after(key: list[str | int]) -> tuple[str, str] | None:
    if not key:
        return None
    if len(key) == 2 and isinstance(key[0], str) and isinstance(key[1], str):
        return key[0], key[1]
    raise values.foreign_token()

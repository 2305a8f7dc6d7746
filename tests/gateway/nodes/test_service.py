"""NodeService: the contract's messages to and from the registry."""

from collections.abc import Iterator

import pytest

from gateway.access.compiled import CompiledPolicies
from gateway.access.prospects import AccessProspects
from gateway.api.current import set_caller
from gateway.api.node import NodeService
from gateway.api.values import page_token
from gateway.errors import Refused
from gateway.nodes.diagnosis import NodeDoctor
from gateway.nodes.model import is_node_id
from jitgate.v1 import node_pb2 as pb
from jitgate.v1.common_pb2 import PageRequest, Scope
from tests.gateway.nodes.conftest import ADMIN, KEY, NODE_ID, NOW, RealNode, World

CONTEXT = object()
SSH = pb.SshEndpoint(host="web.example", login="deploy", host_keys=[f"{KEY} a comment"])


@pytest.fixture
def service(world: World) -> Iterator[NodeService]:
    set_caller(ADMIN)
    yield NodeService(
        world.registry, NodeDoctor(world.registry, AccessProspects(world.database, CompiledPolicies()))
    )
    set_caller(None)


async def add(service: NodeService, name: str = "web-1", **fields: object) -> pb.Node:
    request = pb.AddNodeRequest(name=name, ssh=SSH, skip_check=True)
    request.MergeFrom(pb.AddNodeRequest(**fields))  # type: ignore[arg-type]  # the tests' own keywords
    return (await service.AddNode(request, CONTEXT)).node


@pytest.mark.rule("R33")
async def test_a_node_comes_back_as_it_was_added(service: NodeService) -> None:
    added = await add(service, id=NODE_ID, tags={"Environment": "prod"})
    assert (added.id, added.name, added.connector) == (NODE_ID, "web-1", "ssh")
    assert dict(added.tags) == {"Environment": "prod"}
    assert added.scope == Scope(account="default", region="default")
    assert added.ssh == pb.SshEndpoint(host="web.example", port=22, login="deploy", host_keys=[KEY])
    assert added.created_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW
    assert not added.HasField("last_seen_at")
    got = await service.GetNode(pb.GetNodeRequest(node="web-1"), CONTEXT)
    assert got.node == added


async def test_an_endpoint_is_needed(service: NodeService) -> None:
    with pytest.raises(Refused) as caught:
        await service.AddNode(pb.AddNodeRequest(name="web-1"), CONTEXT)
    assert caught.value.fields[0].field == "ssh"


async def test_checks_are_told(service: NodeService, real: RealNode) -> None:
    endpoint = real.node.endpoint
    ssh = pb.SshEndpoint(host=endpoint.host, port=endpoint.port, login=real.login)
    request = pb.AddNodeRequest(name="web-1", ssh=ssh, id=NODE_ID, trust_on_first_use=True)
    added = await service.AddNode(request, CONTEXT)
    assert [check.step for check in added.checks if check.passed][1] == "host_key"
    assert "SHA256:" in added.checks[1].message
    checked = await service.CheckNode(pb.CheckNodeRequest(node=NODE_ID), CONTEXT)
    assert [check.passed for check in checked.checks] == [True] * 6
    seen = await service.GetNode(pb.GetNodeRequest(node=NODE_ID), CONTEXT)
    assert seen.node.HasField("last_seen_at")
    assert seen.node.properties["platform"]


async def test_pages_follow_each_other(service: NodeService) -> None:
    for number in range(5):
        await add(service, f"n{number}")
    names: list[str] = []
    page = PageRequest(size=2)
    while True:
        answer = await service.ListNodes(pb.ListNodesRequest(page=page, filters=["name=n*"]), CONTEXT)
        names.extend(node.name for node in answer.nodes)
        if not answer.next_page_token:
            break
        page.token = answer.next_page_token
    assert names == [f"n{number}" for number in range(5)]


@pytest.mark.parametrize("token", ["nonsense", page_token("one"), page_token("a", 1), page_token("a", "b", "c")])
async def test_a_token_of_another_listing_is_refused(service: NodeService, token: str) -> None:
    with pytest.raises(Refused) as caught:
        await service.ListNodes(pb.ListNodesRequest(page=PageRequest(token=token)), CONTEXT)
    assert caught.value.fields[0].field == "page.token"


async def test_tags_and_endpoint_change_and_the_node_goes(service: NodeService) -> None:
    await add(service, tags={"a": "1", "b": "2"})
    request = pb.UpdateNodeRequest(node="web-1", set_tags={"a": "3"}, remove_tags=["b"])
    assert (await service.UpdateNode(request, CONTEXT)).node.tags == {"a": "3"}
    moved = pb.SshEndpoint(host="moved.example", port=2222, host_cas=[KEY])
    updated = await service.UpdateNode(pb.UpdateNodeRequest(node="web-1", ssh=moved), CONTEXT)
    assert (updated.node.ssh, dict(updated.node.tags), updated.node.revision) == (moved, {"a": "3"}, 3)
    await service.RemoveNode(pb.RemoveNodeRequest(node="web-1"), CONTEXT)
    with pytest.raises(Refused):
        await service.GetNode(pb.GetNodeRequest(node="web-1"), CONTEXT)


async def test_trust_lines(service: NodeService) -> None:
    trust = await service.GetNodeTrust(pb.GetNodeTrustRequest(login="deploy"), CONTEXT)
    assert is_node_id(trust.node_id)
    assert trust.principals == f"{trust.node_id}/deploy\n"
    assert trust.user_ca.startswith("ssh-ed25519 ")
    assert "TrustedUserCAKeys" in trust.sshd_config

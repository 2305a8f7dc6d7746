"""What node administrators say, and what the doctor of a node tells."""

import json
from pathlib import Path
from typing import Any

import grpc

from jitgate.v1 import node_pb2
from tests.clients.conftest import Jit
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn


def test_adding_a_node_prints_what_its_sshd_must_be_told(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    trust = node_pb2.GetNodeTrustResponse(
        node_id="mi-" + "a" * 17,
        user_ca="ssh-ed25519 CA",
        sshd_config="TrustedUserCAKeys /x",
        principals="mi-a/ops",
    )
    checks = [
        node_pb2.NodeCheck(step="dial", passed=True, message="answers"),
        node_pb2.NodeCheck(step="host_key", passed=False, message="another key", what_to_do="Give the right one."),
    ]
    server.world.answers["GetNodeTrust"] = lambda *_: trust
    server.world.answers["AddNode"] = lambda _, request: node_pb2.AddNodeResponse(
        node=node_pb2.Node(id=request.id, name=request.name), checks=checks
    )
    key = tmp_path / "host.pub"
    key.write_text("ssh-ed25519 AAAA root@db\n")
    done = jit("nodes", "add", "db-9", "db9.internal:2222", "--host-key", str(key), "--tag", "Environment=prod")
    assert "TrustedUserCAKeys /x" in done.stderr
    assert "host key: another key" in done.stdout
    assert "Give the right one." in done.stdout
    assert done.returncode == 1
    asked = server.world.asked("AddNode")[0]
    assert (asked.id, asked.ssh.host, asked.ssh.port) == (trust.node_id, "db9.internal", 2222)
    assert list(asked.ssh.host_keys) == ["ssh-ed25519 AAAA root@db"]
    assert dict(asked.tags) == {"Environment": "prod"}


def test_changing_a_nodes_login_keeps_the_rest_of_its_endpoint(server: StandIn, jit: Jit) -> None:
    endpoint = node_pb2.SshEndpoint(host="db", port=2222, login="old", host_keys=["k"])
    server.world.answers["GetNode"] = lambda *_: node_pb2.GetNodeResponse(node=node_pb2.Node(ssh=endpoint))
    assert jit("nodes", "update", "db-1", "--login", "ops").returncode == 0
    asked = server.world.asked("UpdateNode")[0]
    assert (asked.ssh.host, asked.ssh.port, asked.ssh.login, list(asked.ssh.host_keys)) == (
        "db",
        2222,
        "ops",
        ["k"],
    )


def test_tags_are_set_and_removed(server: StandIn, jit: Jit) -> None:
    assert jit("nodes", "tag", "web-1", "Environment=a-b-", "Owner-").returncode == 0
    asked = server.world.asked("UpdateNode")[0]
    assert (dict(asked.set_tags), list(asked.remove_tags)) == ({"Environment": "a-b-"}, ["Owner"])
    assert not asked.HasField("ssh")


def test_a_doctor_of_a_node_shows_each_finding_and_what_to_do(server: StandIn, jit: Jit) -> None:
    findings = [
        node_pb2.NodeCheck(step="node", passed=True, message="web-1"),
        node_pb2.NodeCheck(
            step="host_key", passed=False, message="shows evil\x1b[2J\u202eno", what_to_do="Do not log in."
        ),
    ]
    server.world.answers["DiagnoseNode"] = lambda *_: node_pb2.DiagnoseNodeResponse(findings=findings)
    done = jit("doctor", "web-1", "--account", "prod")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "✓ node: web-1",
        "✗ host key: shows evil\\x1b[2J\\u202eno",
        "  Do not log in.",
    ]
    _, _, asked = next(call for call in server.world.calls if call[0] == "DiagnoseNode")
    assert (asked.node, asked.scope.account) == ("web-1", "prod")
    assert json.loads(jit("doctor", "web-1", "--output", "json").stdout)["parts"][1]["healthy"] is False


def test_a_doctor_of_no_node(server: StandIn, jit: Jit) -> None:
    def refuse(caller: str, request: Any) -> Any:
        raise Refusal(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND", "There is no node web-9", "jit nodes list")

    server.world.answers["DiagnoseNode"] = refuse
    done = jit("doctor", "web-9")
    assert done.returncode == 5 and "There is no node web-9" in done.stderr

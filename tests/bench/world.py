"""What sessions are measured in: a gateway, a person who may use it, one who approves, and nodes."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from clients.cli.profile import Profile
from clients.cli.wire.channel import Channel
from jitgate.v1 import access_pb2, approval_pb2
from tests.processes import BIN, GatewayProcess, Person
from tests.sshd import Sshd, start_sshd, stop_sshd

SERVE = (BIN / "jitgate", "serve")
PASSWORD = "correct horse battery staple"
NODE = "web-1"
NODE_ID = "mi-00000000000000001"
ASKED_NODE = "db-1"
"""The same server under a name for which people are asked."""
ASKED_NODE_ID = "mi-00000000000000002"

_AUTO = """\
permit (
    principal == AWS::IdentityStore::User::"alice",
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when { resource.hasTag("Environment") && resource.getTag("Environment") == "bench" };
"""
_MANUAL = """\
name: ask-bob
accessHours: 1
targets: [{tag: Environment, values: [asked]}]
levels: [{approvers: [{user: bob}]}]
"""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class World:
    """alice gets web-1 at once and asks bob for db-1; both names are the same sshd."""

    directory: Path
    gateway: GatewayProcess
    alice: Person
    bob: Person
    sshd: Sshd

    def channel(self, person: Person) -> Channel:
        """A connection of that person's client."""
        profile = profile_of(person)
        return Channel(profile.gateway_address, profile.context())

    @property
    def user_ca(self) -> str:
        """The CA that nodes trust."""
        return (self.sshd.directory / "user_ca.pub").read_text().strip()

    def add_node(self, name: str, node_id: str, environment: str, port: int, host_key: str, *options: str) -> None:
        self.alice.jit(
            *("nodes", "add", name, f"127.0.0.1:{port}", "--id", node_id, "--tag", f"Environment={environment}"),
            *("--login", self.sshd.login, "--host-key", host_key, "--yes", *options),
        )


def call(channel: Channel, method: str, request: Message, answer: type[M]) -> M:
    """`method` is "Access/StartAccessRequest"."""
    service, _, name = method.partition("/")
    return channel.unary(f"/jitgate.v1.{service}Service/{name}", request, answer)


def request_access(channel: Channel, node: str) -> access_pb2.AccessRequest:
    wanted = access_pb2.StartAccessRequestRequest(nodes=[node], reason="to measure")
    return call(channel, "Access/StartAccessRequest", wanted, access_pb2.StartAccessRequestResponse).request


def take_token(channel: Channel, request_id: str) -> str:
    wanted = access_pb2.GetAccessTokenRequest(access_request_id=request_id)
    return call(channel, "Access/GetAccessToken", wanted, access_pb2.GetAccessTokenResponse).token.value


def approve(channel: Channel, request_id: str) -> None:
    wanted = approval_pb2.ApproveRequest(access_request_id=request_id)
    call(channel, "Approval/Approve", wanted, approval_pb2.ApproveResponse)


def revoke(channel: Channel, request_id: str) -> None:
    wanted = approval_pb2.RevokeRequest(access_request_id=request_id)
    call(channel, "Approval/Revoke", wanted, approval_pb2.RevokeResponse)


def profile_of(person: Person) -> Profile:
    folder = person.home / ".jit" / "default"
    values = json.loads((folder / "profile.json").read_bytes())
    return Profile(
        folder, values["sign_in_address"], values["gateway_address"], values["user_id"], values["expires_at"]
    )


@contextlib.contextmanager
def running_world(gateway_command: tuple[str | Path, ...] = SERVE) -> Iterator[World]:
    """Everything in a folder of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="jitgate-bench-") as name, contextlib.ExitStack() as undo:
        directory = Path(name)
        gateway = GatewayProcess(directory / "gateway", command=gateway_command)
        gateway.start()
        undo.callback(gateway.stop)
        sshd = start_sshd(directory / "sshd", "")
        undo.callback(stop_sshd, sshd)
        alice, bob = (Person(name, directory / name) for name in ("alice", "bob"))
        _sign_in_administrator(gateway, alice)
        world = World(directory, gateway, alice, bob, sshd)
        _furnish(world)
        yield world


def _sign_in_administrator(gateway: GatewayProcess, person: Person) -> None:
    person.jit(
        *("login", "--gateway", gateway.sign_in_address, "--ca-file", gateway.ca_file),
        *("--user", person.name, "--administrator-code"),
        stdin=f"{gateway.administrator_code()}\n{PASSWORD}\n".encode(),
    )


def _furnish(world: World) -> None:
    """Roles, policies, the second person, the nodes."""
    gateway, alice, bob, sshd = world.gateway, world.alice, world.bob, world.sshd
    password = alice.json("users", "add", "bob")["initial_password"]
    bob.jit(
        *("login", "--gateway", gateway.sign_in_address, "--ca-file", gateway.ca_file, "--user", "bob"),
        "--new-password",
        stdin=f"{password}\n{PASSWORD}\n".encode(),
    )
    alice.jit("roles", "grant", "user", "--user", "alice")
    alice.jit("roles", "grant", "approver", "--user", "bob")
    alice.jit("policies", "put", "-", "--kind", "auto", stdin=_AUTO.encode())
    alice.jit("policies", "put", "-", "--kind", "manual", stdin=_MANUAL.encode())
    sshd.trust(alice.json("nodes", "trust", "--login", sshd.login)["user_ca"])
    sshd.allow(sshd.login, f"{NODE_ID}/{sshd.login}", f"{ASKED_NODE_ID}/{sshd.login}")
    world.add_node(NODE, NODE_ID, "bench", sshd.port, sshd.host_key)
    world.add_node(ASKED_NODE, ASKED_NODE_ID, "asked", sshd.port, sshd.host_key)

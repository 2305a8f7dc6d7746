"""A user CA, a node with a real sshd, and people with and without the right to change nodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant, User
from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.login import principal
from gateway.nodes.model import SSH, Node, SshEndpoint
from tests.sshd import Sshd, current_login, running_sshd

NODE_ID = "mi-0123456789abcdef0"
NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def caller_with(user: str, *grants: RoleGrant) -> Caller:
    person = User(
        id=user,
        issuer="local",
        subject=user,
        display_name=user,
        groups=frozenset(),
        attributes={},
        created_at=NOW,
        membership_checked_at=NOW,
    )
    return Caller(person, grants, "00", "192.0.2.7", NOW)


def granted(user: str, role: Role, account: str = "default", region: str = "default") -> Caller:
    return caller_with(user, RoleGrant("user", user, role, account, region))


def a_node(endpoint: SshEndpoint, node_id: str = NODE_ID, name: str = "web-1") -> Node:
    return Node(
        id=node_id,
        name=name,
        account="default",
        region="default",
        connector=SSH,
        endpoint=endpoint,
        created_at=datetime.now(UTC),
    )


@dataclass(frozen=True)
class RealNode:
    """A node whose sshd runs, and the login that works there."""

    sshd: Sshd
    node: Node
    login: str


@pytest.fixture
def ca() -> SshUserCa:
    return SshUserCa(asyncssh.generate_private_key("ssh-ed25519"), lambda: datetime.now(UTC))


@pytest.fixture
def real(ca: SshUserCa, tmp_path: Path) -> Iterator[RealNode]:
    login = current_login()
    with running_sshd(tmp_path / "sshd", ca.public_key_line(), {login: [principal(NODE_ID, login)]}) as sshd:
        yield RealNode(sshd, a_node(SshEndpoint(sshd.host, sshd.port, login, (sshd.host_key,))), login)

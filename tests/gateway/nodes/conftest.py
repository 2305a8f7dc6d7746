"""A user CA, a node with a real sshd, and people with and without the right to change nodes."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest
from sqlalchemy import select

from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant, User
from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.login import SshLogins, Timeouts, principal
from gateway.nodes.model import SSH, Node, SshEndpoint
from gateway.nodes.registry import NewNode, NodeRegistry
from gateway.store import nodes, tables
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from tests.sshd import Sshd, current_login, running_sshd

NODE_ID = "mi-0123456789abcdef0"
KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
ENDPOINT = SshEndpoint("web.example", 2222, "deploy", (KEY,))
HERE = ("default", "default")
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


ADMIN = granted("nina", Role.NODE_ADMINISTRATOR)
USER = granted("alice", Role.USER)


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


@dataclass
class Ender:
    """Notes what it was told, as seen from inside the transaction."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    fails: bool = False

    async def node_tags_changed(self, tx: Transaction, node_id: str) -> None:
        node = await nodes.get(tx.connection, node_id)
        assert node
        self.told.append(("tags", node_id, dict(node.tags)))
        if self.fails:
            raise RuntimeError("the change must not stay")

    async def node_removed(self, tx: Transaction, node_id: str, actor_id: str) -> None:
        node = await nodes.get(tx.connection, node_id)
        assert node
        self.told.append(("removed", node_id, actor_id, node.removed_at))
        if self.fails:
            raise RuntimeError("the change must not stay")


@dataclass
class World:
    database: Database
    changes: Changes
    ender: Ender
    registry: NodeRegistry

    async def add(self, name: str = "web-1", caller: Caller = ADMIN, **changes: object) -> str:
        new = NewNode(name=name, scope=HERE, endpoint=ENDPOINT, skip_check=True)
        node, _ = await self.registry.add(caller, replace(new, **changes))  # type: ignore[arg-type]  # own keywords
        return node.id

    async def events(self, kind: str = "node.%") -> list[object]:
        async with self.database.read() as connection:
            query = select(tables.events).where(tables.events.c.type.like(kind)).order_by(tables.events.c.sequence)
            return list((await connection.execute(query)).all())

    async def names(
        self, caller: Caller = ADMIN, *filters: str, scope: tuple[str, str] | None = None
    ) -> list[str]:
        found, _ = await self.registry.list(caller, scope, filters, 1000)
        return [node.name for node in found]


@pytest.fixture
async def world(tmp_path: Path, ca: SshUserCa) -> AsyncIterator[World]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/jitgate.db")
    async with database.engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)
    changes, ender = Changes(), Ender()
    logins = SshLogins(ca, timeouts=Timeouts(login=5))
    registry = NodeRegistry(
        database, lambda: NOW, changes, ender=ender, logins=logins, user_ca=ca.public_key_line()
    )
    yield World(database, changes, ender, registry)
    await database.close()

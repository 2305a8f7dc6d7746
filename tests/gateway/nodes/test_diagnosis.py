"""Why a node can't be reached: who learns what, and that each thing in the way is named with what to do."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from gateway.access.compiled import CompiledPolicies
from gateway.access.prospects import AccessProspects
from gateway.errors import Refused
from gateway.identity.model import Role, RoleGrant
from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.diagnosis import NodeDoctor
from gateway.nodes.login import SshLogins, Timeouts
from gateway.nodes.model import NodeCheck, SshEndpoint
from gateway.nodes.registry import NodeRegistry
from gateway.store import tables
from gateway.store.changes import Changes
from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, BOTH, DATABASE_NODE, DENY, HOME, WEB, World, manual
from tests.gateway.nodes.conftest import Ender


class Logins(SshLogins):
    """Counts who is dialled, and stays here."""

    dialled = 0

    async def dial(self, endpoint: SshEndpoint) -> object:  # type: ignore[override]  # it never comes to a socket
        self.dialled += 1
        return await super().dial(SshEndpoint("127.0.0.1", 1))


class Ward(World):
    """Nina administers nodes, norma both administers and asks for them."""

    async def build(self) -> None:
        await super().build()
        await self.person("nina", grants=[Role.NODE_ADMINISTRATOR])
        await self.person("norma", grants=[Role.NODE_ADMINISTRATOR, Role.USER])
        await self.grant(RoleGrant("user", "nina", Role.NODE_ADMINISTRATOR, "other", "default"))
        self.logins = Logins(
            SshUserCa(asyncssh.generate_private_key("ssh-ed25519"), self.clock), timeouts=Timeouts(dial=5)
        )
        registry = NodeRegistry(
            self.database, self.clock, Changes(), ender=Ender(), logins=self.logins, user_ca="ssh-ed25519 AAAA"
        )
        self.doctor = NodeDoctor(registry, AccessProspects(self.database, CompiledPolicies()))

    async def asks(self, user: str, node: str = "web-1", scope: tuple[str, str] = HOME) -> dict[str, NodeCheck]:
        found = await self.doctor.diagnose(await self.caller(user), scope, node)
        assert all(finding.what_to_do for finding in found if not finding.passed)
        assert len({finding.step for finding in found}) == len(found)
        return {finding.step: finding for finding in found}

    async def change(self, node_id: str, **values: object) -> None:
        async with self.database.transaction() as tx:
            await self.set(tx.connection, tables.nodes, node_id, **values)


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    ward = Ward(tmp_path)
    await ward.build()
    yield ward
    await ward.database.close()


@pytest.mark.rule("R33")
async def test_what_one_may_not_see_is_not_there(ward: Ward) -> None:
    for user, node, scope in (
        ("alice", "nothing", HOME),
        ("alice", "far-1", ("other", "default")),
        ("alice", "far-1", HOME),
        ("mallory", "web-1", HOME),
    ):
        with pytest.raises(Refused) as caught:
            await ward.asks(user, node, scope)
        assert caught.value.reason == "NODE_NOT_FOUND"
    assert (await ward.asks("nina", "far-1", ("other", "default")))["node"].passed


async def test_nothing_is_dialled_for_who_may_only_look(ward: Ward) -> None:
    found = await ward.asks("alice")
    assert list(found) == ["node", "way", "access"] and found["way"].passed
    assert ward.logins.dialled == 0
    await ward.change(WEB, endpoint={"host": "h", "port": 22, "login": "ops", "host_keys": [], "host_cas": []})
    found = await ward.asks("norma")
    assert list(found) == ["node", "dial", "access"]
    assert not found["dial"].passed and "nothing listens there" in found["dial"].message
    assert ward.logins.dialled == 1


async def test_no_login(ward: Ward) -> None:
    found = await ward.asks("nina")
    assert not found["login"].passed and "jit preferences" in found["login"].what_to_do


async def test_a_locked_node(ward: Ward) -> None:
    await ward.change(WEB, locked_at=ward.clock(), locked_by="root", lock_reason="leaks")
    found = await ward.asks("alice")
    assert not found["node"].passed and "leaks" in found["node"].message
    assert found["node"].what_to_do.endswith("jit unlock --node web-1")


@pytest.mark.rule("R4")
async def test_targets_that_are_disabled_concern_everybody(ward: Ward) -> None:
    await ward.enable(*HOME, enabled=False)
    for user in ("alice", "nina"):
        found = await ward.asks(user)
        assert not found["access"].passed
        assert "jit targets enable --account default --region default" in found["access"].what_to_do


@pytest.mark.rule("R11")
async def test_a_request_that_no_policy_would_let_through(ward: Ward) -> None:
    found = await ward.asks("alice")
    assert not found["access"].passed and "No approval policy applies to web-1" in found["access"].message
    assert "jit policies explain alice web-1" in found["access"].what_to_do
    assert "access" not in await ward.asks("nina")  # who asks for none would be told about nobody


@pytest.mark.rule("R7")
async def test_what_the_policies_would_say(ward: Ward) -> None:
    await ward.put(PolicyKind.AUTO, AUTO)
    await ward.put(PolicyKind.MANUAL, manual("databases", targets="[{tag: Workload}]"))
    assert "approved at once" in (await ward.asks("alice"))["access"].message
    assert "wait for approval (databases)" in (await ward.asks("alice", DATABASE_NODE))["access"].message
    await ward.put(PolicyKind.MANUAL, manual("northern", targets="[{tag: Site}]"))
    conflict = (await ward.asks("alice", BOTH))["access"]
    assert not conflict.passed and "databases, northern" in conflict.message
    await ward.put(PolicyKind.DENY, DENY)
    assert not (await ward.asks("alice"))["access"].passed


async def test_nothing_is_asked_for(ward: Ward) -> None:
    before = await ward.rows()
    await ward.asks("alice")
    await ward.asks("norma")
    assert await ward.rows() == before


async def test_of_an_agent_everybody_learns_whether_it_is_there(ward: Ward) -> None:
    endpoint = {"host": "", "port": 0, "login": "ops", "host_keys": [], "host_cas": []}
    await ward.change(WEB, connector="agent", endpoint=endpoint)
    assert not (await ward.asks("alice"))["agent"].passed
    assert not (await ward.asks("nina"))["agent"].passed
    await ward.change(WEB, attached_to="r-1", last_seen_at=ward.clock())
    assert (await ward.asks("alice"))["agent"].passed
    assert (await ward.asks("nina"))["agent"].passed
    assert ward.logins.dialled == 0

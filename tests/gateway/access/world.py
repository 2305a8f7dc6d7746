"""A small organization on a real database, and everybody's hands in it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from approvals.model import DEFAULT_MEMBERSHIP_MAX_AGE
from gateway.access.admission import Gate
from gateway.access.compiled import CompiledPolicies
from gateway.access.deadlines import Deadlines
from gateway.access.ender import Ender
from gateway.access.model import AccessRequest
from gateway.access.policies import Policies
from gateway.access.policy_reading import PolicyReader
from gateway.access.reading import RequestReader
from gateway.access.requests import AccessRequests, Ask
from gateway.access.tokens import AccessTokens
from gateway.access.transitions import Transitions
from gateway.identity.caller import Caller
from gateway.identity.model import LOCAL_ISSUER, Role, RoleGrant, User
from gateway.nodes.model import Node, SshEndpoint
from gateway.store import directory, nodes, roles, tables, targets
from gateway.store.changes import Changes
from gateway.store.database import Database
from policy.model import PolicyKind

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOME = ("default", "default")
WEB = "i-0000000000000000a"
DATABASE_NODE = "i-0000000000000000b"
BOTH = "i-0000000000000000c"
FAR = "i-0000000000000000d"

AUTO = """\
permit(principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
when { resource.hasTag("Environment") && resource.getTag("Environment") == "dev" };
"""
DENY = """\
forbid(principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
when { resource.hasTag("Environment") && resource.getTag("Environment") == "dev" };
"""


def manual(
    name: str = "databases",
    *,
    targets: str = "[{tag: Workload, values: [db]}]",
    levels: str = "[{approvers: [{group: sre}]}, {approvers: [{user: olga}, {user: pete}], approvals: 1}]",
    hours: int = 8,
    more: str = "",
) -> str:
    return f"name: {name}\naccessHours: {hours}\ntargets: {targets}\nlevels: {levels}\n{more}"


class Hands:
    """One gateway process on a database: the use cases, wired as the server wires them."""

    def __init__(self, url: str, clock: "SetClock") -> None:
        self.database = Database(url)
        self.changes = Changes()
        self.compiled = CompiledPolicies()
        self.transitions = Transitions(self.changes, DEFAULT_MEMBERSHIP_MAX_AGE)
        self.requests = AccessRequests(self.database, clock, self.transitions, self.compiled, max_pending=1_000)
        self.reader = RequestReader(
            self.database, clock, self.changes, self.transitions, poll=timedelta(milliseconds=20)
        )
        self.tokens = AccessTokens(self.database, clock)
        self.gate = Gate(self.transitions)
        self.ender = Ender(clock, self.transitions, self.compiled)
        self.policies = Policies(self.database, clock, self.changes, self.compiled)
        self.policy_reader = PolicyReader(self.database, clock, self.compiled)
        self.monotonic = clock.monotonic
        self.deadlines = Deadlines(self.database, clock, self.changes, self.transitions, monotonic=self.monotonic)


class SetClock:
    """A clock that stands still until it is told to go on; `jump` sets it, as a wrong administrator would."""

    def __init__(self) -> None:
        self.now = START
        self.passed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.passed

    def advance(self, **how_long: float) -> datetime:
        step = timedelta(**how_long)
        self.passed += step.total_seconds()
        self.now += step
        return self.now

    def jump(self, **how_far: float) -> datetime:
        self.now += timedelta(**how_far)
        return self.now


class World(Hands):
    def __init__(self, folder: Path, url: str = "") -> None:
        """`url` leads to a migrated database; without one, a SQLite file in `folder` is made."""
        self.url = url or f"sqlite:///{folder}/jitgate.db"
        self._is_migrated = bool(url)
        self.clock = SetClock()
        super().__init__(self.url, self.clock)

    async def build(self) -> None:
        """alice and bob ask; sam and sue are sre, olga and pete are level two; ada audits, root administers."""
        if not self._is_migrated:
            async with self.database.transaction() as tx:
                await tx.connection.run_sync(tables.metadata.create_all)
        await self.person("alice", grants=[Role.USER])
        await self.person("bob", grants=[Role.USER])
        await self.person("sam", groups=["sre"])
        await self.person("sue", groups=["sre"])
        await self.person("olga", grants=[Role.APPROVER])
        await self.person("pete", grants=[Role.APPROVER])
        await self.person("ada", grants=[Role.AUDITOR])
        await self.person("root")
        await self.person("mallory")
        await self.grant(RoleGrant("group", "sre", Role.APPROVER))
        await self.grant(RoleGrant("user", "root", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"))
        await self.enable(*HOME)
        await self.node(WEB, "web-1", {"Environment": "dev"})
        await self.node(DATABASE_NODE, "db-1", {"Workload": "db"})
        await self.node(BOTH, "both-1", {"Workload": "db", "Site": "north"})
        await self.node(FAR, "far-1", {"Environment": "dev"}, account="other")

    async def person(
        self,
        user_id: str,
        *,
        groups: Iterable[str] = (),
        grants: Iterable[Role] = (),
        issuer: str = LOCAL_ISSUER,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        now = self.clock()
        user = User(user_id, issuer, user_id, user_id.title(), frozenset(groups), attributes or {}, now, now)
        async with self.database.transaction() as tx:
            await directory.add(tx.connection, user)
            for role in grants:
                await roles.add(tx.connection, RoleGrant("user", user_id, role))

    async def grant(self, grant: RoleGrant) -> None:
        async with self.database.transaction() as tx:
            await roles.add(tx.connection, grant)

    async def ungrant(self, grant: RoleGrant) -> None:
        async with self.database.transaction() as tx:
            await roles.remove(tx.connection, grant)

    async def enable(self, account: str, region: str, enabled: bool = True) -> None:
        target = targets.Target(account, region, "", enabled, self.clock(), "root")
        async with self.database.transaction() as tx:
            await targets.put(tx.connection, target)

    async def node(self, node_id: str, name: str, tags: Mapping[str, str], account: str = "default") -> Node:
        node = Node(
            id=node_id,
            name=name,
            account=account,
            region="default",
            connector="ssh",
            endpoint=SshEndpoint("192.0.2.1", host_keys=("ssh-ed25519 AAAA",)),
            created_at=self.clock(),
            tags=tags,
        )
        async with self.database.transaction() as tx:
            await nodes.add(tx.connection, node)
        return node

    async def retag(self, node_id: str, tags: Mapping[str, str]) -> None:
        """As the registry does it: the tags, then whoever must hear of them, in one transaction."""
        async with self.database.transaction() as tx:
            await self.set(tx.connection, tables.nodes, node_id, tags=dict(tags))
            await self.ender.node_tags_changed(tx, node_id)

    async def set(self, connection: Any, table: Any, row_id: str, **values: Any) -> None:
        await connection.execute(table.update().where(table.c.id == row_id).values(**values))

    async def caller(self, user_id: str, key_hash: str = "key-1") -> Caller:
        """As authentication makes it."""
        async with self.database.read() as connection:
            known = await directory.identity(connection, user_id, self.clock())
        assert known is not None
        user, grants = known
        return Caller(user, grants, key_hash, "192.0.2.77", self.clock() + timedelta(hours=12))

    async def put(self, kind: PolicyKind, text: str, scope: tuple[str, str] = HOME) -> tuple[str, ...]:
        return (await self.policies.put(await self.caller("root"), kind, scope, text))[1]

    async def ask(self, user_id: str, node: str, *, reason: str = "fix the disk", **more: Any) -> AccessRequest:
        return await self.requests.start(await self.caller(user_id), Ask(HOME, node, reason, **more))

    async def approved(self, **more: Any) -> AccessRequest:
        """An open window of alice's on db-1, approved by sam and olga."""
        request = await self.ask("alice", "db-1", **more)
        await self.requests.approve(await self.caller("sam"), request.life.id)
        return await self.requests.approve(await self.caller("olga"), request.life.id)

    async def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the database, to see that a refusal changed nothing; what follows from events aside, and
        counts of failures."""
        async with self.database.read() as connection:
            return {
                table.name: [tuple(row) for row in await connection.execute(select(table))]
                for table in tables.metadata.sorted_tables
                if table not in (tables.outbox, tables.sign_in_failures)
            }

    async def events(self, subject: str) -> list[str]:
        async with self.database.read() as connection:
            query = select(tables.events.c.type).where(tables.events.c.subject == subject)
            return list(await connection.scalars(query.order_by(tables.events.c.sequence)))

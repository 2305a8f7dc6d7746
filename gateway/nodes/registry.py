"""The registry of nodes: who may add, see, change and remove them, and who hears of it (R3, R33)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from gateway.errors import invalid
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.nodes import bounds, errors, filters, host_keys
from gateway.nodes.agents.check import check_agent
from gateway.nodes.check import CheckReport, NodeChecker
from gateway.nodes.login import SshLogins
from gateway.nodes.model import SSH, Node, NodeCheck, SshEndpoint
from gateway.nodes.ports import AccessEnder
from gateway.nodes.trust import NodeTrust, node_trust
from gateway.store import agents, events, nodes, preferences
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from jitgate.v1 import annotations_pb2 as permissions

Scope = tuple[str, str]
"""An account and a Region."""

NODES_TOPIC = "nodes"


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node to register; an empty id makes a new one.

    With `trust_on_first_use` the key that answers at the endpoint becomes its host key. `skip_check` stores it
    without a try to log in.
    """

    name: str
    scope: Scope
    endpoint: SshEndpoint
    tags: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    trust_on_first_use: bool = False
    skip_check: bool = False


class NodeRegistry:
    """Every method takes the caller and refuses what the caller may not do there.

    A node is named by its id or by its name within a scope. Refused NODE_NOT_FOUND where there is none.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        *,
        ender: AccessEnder,
        logins: SshLogins,
        user_ca: str,
    ) -> None:
        """`user_ca` is the public key line that nodes trust."""
        self._database = database
        self._clock = clock
        self._changes = changes
        self._ender = ender
        self._logins = logins
        self._checker = NodeChecker(logins)
        self._user_ca = user_ca

    async def add(self, caller: Caller, new: NewNode) -> tuple[Node, tuple[NodeCheck, ...]]:
        """The stored node and the steps of its check, all passed; the host key that was trusted is among them.

        Raises Refused INVALID_FIELD, NODE_ID_USED, NODE_NAME_TAKEN, NODE_UNREACHABLE, NO_LOGIN, NODE_CHECK_FAILED.
        """
        account, region = new.scope
        caller.require(permissions.PERMISSION_WRITE_NODES, account, region)
        bounds.check_name(new.name)
        bounds.check_tags(new.tags)
        if new.id:
            bounds.check_node_id(new.id)
        node = Node(
            id=new.id or new_node_id(),
            name=new.name,
            account=account,
            region=region,
            connector=SSH,
            endpoint=await self._proven(new),
            created_at=self._clock(),
            tags=dict(new.tags),
        )
        await self._refuse_taken(node)
        report = CheckReport(())
        if not new.skip_check:
            report = await self._check(node)
            if report.failed:
                raise errors.check_failed(report.failed)
            node = replace(node, properties=report.properties, last_seen_at=self._clock())
        try:
            async with self._database.transaction() as tx:
                await nodes.add(tx.connection, node)
                summary, details = f"{node.name} was added", _described(node)
                await self._tell(tx, caller, node, "node.added", summary=summary, details=details)
                if new.trust_on_first_use:
                    key = host_keys.fingerprint(node.endpoint.host_keys[0])
                    summary = f"{node.name} was registered with the key that answered first: {key}"
                    what, details = "node.trusted_on_first_use", {"host_key": key}
                    await self._tell(tx, caller, node, what, summary=summary, details=details)
        except IntegrityError:
            await self._refuse_taken(node)
            raise
        return node, _with_trust(report.checks, node) if new.trust_on_first_use else report.checks

    async def get(self, caller: Caller, scope: Scope, reference: str) -> Node:
        account, region = scope
        if not caller.may(permissions.PERMISSION_READ_NODES, account, region):
            raise errors.node_not_found(reference, account, region)
        async with self._database.read() as connection:
            node = await nodes.find(connection, reference, account, region)
        if node is None:
            raise errors.node_not_found(reference, account, region)
        return node

    async def list(
        self,
        caller: Caller,
        scope: Scope | None,
        expressions: Sequence[str],
        size: int,
        after: tuple[str, str] | None = None,
    ) -> tuple[list[Node], tuple[str, str] | None]:
        """A page of at most `size` nodes by name, and the (name, id) to ask for the next page with; None: no more.

        Without a scope: of all that the caller may read. Raises Refused INVALID_FIELD for a bad filter.
        """
        conditions = filters.parse(expressions, self._clock())
        if scope:
            caller.require(permissions.PERMISSION_READ_NODES, *scope)
        readable: dict[Scope, bool] = {}
        found: list[Node] = []
        async with self._database.read() as connection:
            async for node in nodes.stream(connection, scope, after):
                place = (node.account, node.region)
                if place not in readable:
                    readable[place] = caller.may(permissions.PERMISSION_READ_NODES, *place)
                if readable[place] and filters.matches_all(conditions, node):
                    found.append(node)
                    if len(found) > size:
                        break
        if len(found) <= size:
            return found, None
        last = found[size - 1]
        return found[:size], (last.name, last.id)

    async def update(
        self,
        caller: Caller,
        scope: Scope,
        reference: str,
        *,
        set_tags: Mapping[str, str],
        remove_tags: Sequence[str],
        endpoint: SshEndpoint | None,
    ) -> Node:
        """The node as it is then. Changed tags decide anew about its requests and windows in the same transaction.

        Raises Refused INVALID_FIELD.
        """
        account, region = scope
        caller.require(permissions.PERMISSION_WRITE_NODES, account, region)
        if both := set(set_tags) & set(remove_tags):
            raise invalid("remove_tags", f"{min(both)!r} is to be set and removed at once")
        async with self._database.transaction() as tx:
            node = await self._locked(tx, scope, reference)
            if endpoint and node.connector == SSH:
                endpoint = bounds.checked_endpoint(endpoint)
            elif endpoint:
                endpoint = bounds.checked_login_alone(endpoint)
            kept = {key: value for key, value in node.tags.items() if key not in remove_tags}
            changed = replace(node, tags={**kept, **set_tags}, endpoint=endpoint or node.endpoint)
            bounds.check_tags(changed.tags)
            if changed == node:
                return node
            changed = replace(changed, revision=node.revision + 1)
            await nodes.replace(tx.connection, changed)
            details = {"before": _described(node), "after": _described(changed)}
            summary = f"{node.name} was changed"
            await self._tell(tx, caller, changed, "node.updated", summary=summary, details=details)
            if changed.tags != node.tags:
                await self._ender.node_tags_changed(tx, node.id)
        return changed

    async def remove(self, caller: Caller, scope: Scope, reference: str) -> None:
        """Ends the node's windows and sessions too. Its name is free again, its id never is."""
        caller.require(permissions.PERMISSION_WRITE_NODES, *scope)
        async with self._database.transaction() as tx:
            node = await self._locked(tx, scope, reference)
            removed = replace(node, removed_at=self._clock(), revision=node.revision + 1)
            await nodes.replace(tx.connection, removed)
            summary, details = f"{node.name} was removed", _described(node)
            await self._tell(tx, caller, removed, "node.removed", summary=summary, details=details)
            await self._ender.node_removed(tx, node.id, caller.user.id)

    async def check(self, caller: Caller, scope: Scope, reference: str) -> tuple[NodeCheck, ...]:
        """Tries the node step by step, and notes what it says of itself. Raises Refused NO_LOGIN."""
        caller.require(permissions.PERMISSION_WRITE_NODES, *scope)
        node = await self.get(caller, scope, reference)
        if node.connector != SSH:
            login = await self._login(scope, node.endpoint, node.name)
            async with self._database.read() as connection:
                standing = await agents.standing(connection, node.id)
            until = None if standing is None else standing.certified_until
            return check_agent(node, login, until, self._clock())
        report = await self._check(node)
        if report.properties:
            async with self._database.transaction() as tx:
                await nodes.seen(tx.connection, node.id, self._clock(), report.properties)
        return report.checks

    async def trust(self, caller: Caller, scope: Scope, reference: str, login: str) -> NodeTrust:
        """What the node needs to trust the gateway; an empty reference makes an id for a node to come.

        An empty login is the one that sessions would run as. Raises Refused NO_LOGIN, INVALID_FIELD.
        """
        bounds.check_login("login", login)
        node_id = new_node_id()
        endpoint = SshEndpoint(host="")
        if reference:
            node = await self.get(caller, scope, reference)
            if node.connector != SSH:
                raise errors.needs_no_trust(node.name)
            node_id, endpoint = node.id, node.endpoint
        else:
            caller.require(permissions.PERMISSION_READ_NODES, *scope)
        login = login or await self._login(scope, endpoint, reference or "the node")
        return node_trust(node_id, login, self._user_ca)

    async def _proven(self, new: NewNode) -> SshEndpoint:
        endpoint = bounds.checked_endpoint(new.endpoint, needs_proof=not new.trust_on_first_use)
        if not new.trust_on_first_use:
            return endpoint
        if endpoint.host_keys or endpoint.host_cas:
            raise invalid(
                "trust_on_first_use",
                "a host key or host CA is given, so nothing is left to trust on first use",
                "Leave one of them out.",
            )
        return replace(endpoint, host_keys=(await self._logins.presented_host_key(endpoint),))

    async def _check(self, node: Node) -> CheckReport:
        login = await self._login((node.account, node.region), node.endpoint, node.name)
        return await self._checker.check(node, login)

    async def _login(self, scope: Scope, endpoint: SshEndpoint, name: str) -> str:
        if endpoint.login:
            return endpoint.login
        async with self._database.read() as connection:
            preferred = await preferences.get(connection, *scope)
        if not preferred.run_as:
            raise errors.no_login(name)
        return preferred.run_as

    async def _refuse_taken(self, node: Node) -> None:
        async with self._database.read() as connection:
            if await nodes.get(connection, node.id):
                raise errors.id_used(node.id)
            if await nodes.find(connection, node.name, node.account, node.region):
                raise errors.name_taken(node.name, node.account, node.region)

    async def _locked(self, tx: Transaction, scope: Scope, reference: str) -> Node:
        node = await nodes.find(tx.connection, reference, *scope, for_update=True)
        if node is None:
            raise errors.node_not_found(reference, *scope)
        return node

    async def _tell(
        self, tx: Transaction, caller: Caller, node: Node, what: str, *, summary: str, details: dict[str, Any]
    ) -> None:
        event = events.Event(
            type=what,
            at=self._clock(),
            subject=node.id,
            summary=summary,
            actor_id=caller.user.id,
            source_address=caller.source_address,
            account=node.account,
            region=node.region,
            details=details,
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish(NODES_TOPIC, node.id))


def new_node_id() -> str:
    """An id for a node that no cloud has named: "mi-" and 17 hex digits."""
    return f"mi-{secrets.token_hex(9)[:17]}"


def _with_trust(checks: tuple[NodeCheck, ...], node: Node) -> tuple[NodeCheck, ...]:
    key = host_keys.fingerprint(node.endpoint.host_keys[0])
    trusted = NodeCheck(
        "host_key",
        True,
        f"trusted on first use: {key}",
        "Compare it on the node itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )
    others = [check for check in checks if check.step != "host_key"]
    return (*others[:1], trusted, *others[1:])


def _described(node: Node) -> dict[str, Any]:
    endpoint = node.endpoint
    return {
        "name": node.name,
        "tags": dict(node.tags),
        "host": endpoint.host,
        "port": endpoint.port,
        "login": endpoint.login,
        "host_keys": [host_keys.fingerprint(line) for line in endpoint.host_keys],
        "host_cas": [host_keys.fingerprint(line) for line in endpoint.host_cas],
    }

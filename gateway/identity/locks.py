"""Locks: keep a person out, or everybody off a node, at once and until somebody unlocks (R25, R31)."""

from gateway.errors import Kind, Refused, invalid
from gateway.identity import directory as people
from gateway.identity import last_administrator
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE
from gateway.identity.ports import AccessEnder, Clock
from gateway.identity.text import check_printable
from gateway.nodes.model import Node
from gateway.store import directory, events, node_locks, nodes, scim
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from jitgate.v1 import annotations_pb2 as declared

_MAXIMUM_REASON = 256


class Locks:
    """Locking what is locked already sets the new reason: in an emergency the second call must not fail."""

    def __init__(self, database: Database, ender: AccessEnder, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._ender = ender
        self._changes = changes
        self._clock = clock

    async def lock_user(self, caller: Caller, user_id: str, reason: str) -> None:
        """Needs WRITE_DIRECTORY beside LOCK: people belong to the organization, not to an account.

        Client certificates from before count no more, also once unlocked: what was stolen stays useless.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, USER_NOT_FOUND, LAST_ADMINISTRATOR.
        """
        _require_organization(caller)
        _check_reason(reason)
        async with self._database.transaction() as tx:
            async with last_administrator.kept(tx):
                await people.find(tx, user_id, self._clock)
                await directory.lock(tx.connection, user_id, self._clock(), caller.user.id, reason)
            await self._ender.user_locked(tx, user_id, reason, caller.actor)
            await self._tell(tx, caller, "user.locked", f"locked {user_id}: {reason}", user_id)

    async def unlock_user(self, caller: Caller, user_id: str) -> None:
        """Raises Refused: NOT_PERMITTED, USER_NOT_FOUND, NOT_LOCKED, DEACTIVATED."""
        _require_organization(caller)
        async with self._database.transaction() as tx:
            user = await people.find(tx, user_id, self._clock)
            if user.locked_at is None:
                raise _not_locked(user_id)
            if user.provisioned and await scim.is_inactive(tx.connection, user_id):
                raise Refused(
                    Kind.FAILED_PRECONDITION,
                    "DEACTIVATED",
                    f"{user_id} is deactivated at {user.issuer}",
                    "Activate the person there first.",
                )
            await directory.unlock(tx.connection, user_id)
            await self._tell(tx, caller, "user.unlocked", f"unlocked {user_id}", user_id)

    async def lock_node(self, caller: Caller, account: str, region: str, node: str, reason: str) -> None:
        """`node` is an id or name. Raises Refused: NODE_NOT_FOUND (also where the caller may not lock),
        INVALID_FIELD."""
        _check_reason(reason)
        async with self._database.transaction() as tx:
            found = await self._find(tx, caller, account, region, node)
            await node_locks.lock(tx.connection, found.id, self._clock(), caller.user.id, reason)
            await self._ender.node_locked(tx, found.id, reason, caller.actor)
            await self._tell(tx, caller, "node.locked", f"locked {found.name}: {reason}", found)

    async def unlock_node(self, caller: Caller, account: str, region: str, node: str) -> None:
        """`node` is an id or name. Raises Refused: NODE_NOT_FOUND, NOT_LOCKED."""
        async with self._database.transaction() as tx:
            found = await self._find(tx, caller, account, region, node)
            if not found.locked:
                raise _not_locked(found.name)
            await node_locks.unlock(tx.connection, found.id)
            await self._tell(tx, caller, "node.unlocked", f"unlocked {found.name}", found)

    async def _find(self, tx: Transaction, caller: Caller, account: str, region: str, node: str) -> Node:
        permitted = caller.may(declared.PERMISSION_LOCK, account, region)
        found = await nodes.find(tx.connection, node, account, region, for_update=True) if permitted else None
        if found is None:
            raise Refused(
                Kind.NOT_FOUND,
                "NODE_NOT_FOUND",
                f"there is no node {node!r} in account {account}, Region {region} that you can lock",
                "See which there are: jit nodes list",
            )
        return found

    async def _tell(self, tx: Transaction, caller: Caller, kind: str, summary: str, subject: str | Node) -> None:
        """`subject` is a user's id or a node."""
        place = (subject.account, subject.region) if isinstance(subject, Node) else ("", "")
        event = Event(
            kind,
            self._clock(),
            subject.id if isinstance(subject, Node) else subject,
            f"{caller.user.id} {summary}",
            caller.user.id,
            caller.source_address,
            *place,
        )
        await events.append(tx.connection, event)
        topic = "nodes" if isinstance(subject, Node) else "users"
        tx.after_commit(lambda: self._changes.publish(topic))


def _require_organization(caller: Caller) -> None:
    caller.require(declared.PERMISSION_LOCK, EVERYWHERE, EVERYWHERE)
    caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise invalid("reason", "must say why")
    check_printable("reason", reason, _MAXIMUM_REASON)


def _not_locked(name: str) -> Refused:
    return Refused(Kind.FAILED_PRECONDITION, "NOT_LOCKED", f"{name} is not locked", "There is nothing to unlock.")

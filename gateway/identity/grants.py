"""Roles given and taken away (R32)."""

import re
from dataclasses import replace

from sqlalchemy.exc import IntegrityError

from gateway.errors import Kind, Refused, invalid
from gateway.identity import last_administrator
from gateway.identity.caller import Caller
from gateway.identity.directory import find
from gateway.identity.model import EVERYWHERE, Role, RoleGrant, is_group_id
from gateway.identity.ports import AccessEnder, Clock
from gateway.store import events, roles
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from jitgate.v1 import annotations_pb2 as declared

POLICY_KINDS = frozenset({"deny", "auto", "manual"})
_PLACE = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Grants:
    """Who holds which role where. Changing it needs WRITE_DIRECTORY for the whole organization: a role in one
    account that could give itself another one would be a role in all of them."""

    def __init__(self, database: Database, ender: AccessEnder, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._ender = ender
        self._changes = changes
        self._clock = clock

    async def grant(self, caller: Caller, grant: RoleGrant) -> None:
        """Gives a role; policy kinds add to those that the holder has there already. Again changes nothing.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, USER_NOT_FOUND. A group may be empty yet.
        """
        _require(caller)
        _check(grant)
        try:
            await self._grant(caller, grant)
        except IntegrityError:  # somebody else gave the same role at the same moment: now it is there to be found
            await self._grant(caller, grant)

    async def _grant(self, caller: Caller, grant: RoleGrant) -> None:
        async with self._database.transaction() as tx:
            if grant.holder_type == "user":
                await find(tx, grant.holder_id, self._clock)
            held = await roles.find(tx.connection, grant)
            if held is None:
                await roles.add(tx.connection, grant)
            elif grant.policy_kinds <= held.policy_kinds:
                return
            else:
                more = replace(grant, policy_kinds=held.policy_kinds | grant.policy_kinds)
                await roles.set_policy_kinds(tx.connection, more)
            await self._tell(tx, caller, "role.granted", "gave {} to", grant)

    async def revoke(self, caller: Caller, grant: RoleGrant) -> None:
        """Takes a role away, or of a policy administrator the policy kinds that are named. Windows that nobody may
        have any more end with their sessions (R25, R32): what a role opened does not outlast it.

        Raises Refused: NOT_PERMITTED, ROLE_NOT_FOUND, LAST_ADMINISTRATOR.
        """
        _require(caller)
        async with self._database.transaction() as tx, last_administrator.kept(tx):
            held = await roles.find(tx.connection, grant)
            if held is None or not grant.policy_kinds <= held.policy_kinds:
                raise Refused(
                    Kind.NOT_FOUND,
                    "ROLE_NOT_FOUND",
                    f"{grant.holder_type} {grant.holder_id} does not hold that role there",
                    "See who holds what: jit roles list",
                )
            left = held.policy_kinds - grant.policy_kinds
            if grant.policy_kinds and left:
                await roles.set_policy_kinds(tx.connection, replace(held, policy_kinds=left))
            else:
                await roles.remove(tx.connection, held)
            await self._tell(tx, caller, "role.revoked", "took {} from", grant)
            await self._ender.role_revoked(tx, held, caller.actor)

    async def all(self, caller: Caller) -> list[RoleGrant]:
        """Every grant, ordered by holder."""
        caller.require(declared.PERMISSION_READ_DIRECTORY)
        async with self._database.read() as connection:
            return await roles.all_grants(connection)

    async def _tell(self, tx: Transaction, caller: Caller, kind: str, did: str, grant: RoleGrant) -> None:
        role = f"{grant.role} in account {grant.account}, Region {grant.region}"
        event = Event(
            kind,
            self._clock(),
            grant.holder_id,
            f"{caller.user.id} {did.format(role)} {grant.holder_type} {grant.holder_id}",
            caller.user.id,
            caller.source_address,
            "" if grant.account == EVERYWHERE else grant.account,
            "" if grant.region == EVERYWHERE else grant.region,
            {
                "holder_type": grant.holder_type,
                "role": grant.role.value,
                "account": grant.account,
                "region": grant.region,
                "policy_kinds": sorted(grant.policy_kinds),
            },
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("users"))


def _require(caller: Caller) -> None:
    caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)


def _check(grant: RoleGrant) -> None:
    everywhere = grant.account == grant.region == EVERYWHERE
    if grant.holder_type == "group" and not is_group_id(grant.holder_id):
        raise invalid("grant.group_id", "must be 1 to 64 characters: letters, digits, '.', '_', '@', '-'")
    for field, value in (("grant.account", grant.account), ("grant.region", grant.region)):
        if not _PLACE.fullmatch(value):
            raise invalid(field, "must be '*' or 1 to 64 characters: letters, digits, '.', '_', '-'")
    if grant.role is Role.ORGANIZATION_ADMINISTRATOR and not everywhere:
        raise invalid("grant.account", "an organization administrator has account '*' and Region '*'")
    if grant.role is not Role.POLICY_ADMINISTRATOR:
        if grant.policy_kinds:
            raise invalid("grant.policy_kinds", "belong to a policy administrator only")
        return
    if not grant.policy_kinds or not grant.policy_kinds <= POLICY_KINDS:
        raise invalid("grant.policy_kinds", "a policy administrator needs one or more of deny, auto, manual")
    if "deny" in grant.policy_kinds and not everywhere:
        raise invalid(
            "grant.policy_kinds",
            "the deny policy is the organization's: it needs account '*' and Region '*'",
            "Grant deny with account '*' and Region '*', and the other kinds where they are wanted.",
        )

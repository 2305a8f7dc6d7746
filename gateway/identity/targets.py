"""Where just-in-time access is enabled (R4)."""

import re
from dataclasses import replace

from gateway.errors import Kind, Refused, invalid
from gateway.identity.caller import Caller
from gateway.identity.ports import AccessEnder, Clock
from gateway.store import events, targets
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from gateway.store.targets import Target
from jitgate.v1 import annotations_pb2 as declared

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Targets:
    """Enables and disables accounts and Regions, one at a time or by organizational unit."""

    def __init__(self, database: Database, ender: AccessEnder, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._ender = ender
        self._changes = changes
        self._clock = clock

    async def all(self, caller: Caller) -> list[Target]:
        """Targets where the caller holds any role, by account and Region."""
        async with self._database.read() as connection:
            found = await targets.all_targets(connection)
        return [target for target in found if caller.holds_a_role_in(target.account, target.region)]

    async def set(
        self, caller: Caller, account: str, region: str, *, enabled: bool, organizational_unit: str = ""
    ) -> Target:
        """One account and Region; with a unit it is placed there, else it stays in the one it is in.

        Disabling ends open windows and sessions there. Raises Refused: NOT_PERMITTED, INVALID_FIELD.
        """
        for field, value in (("scope.account", account), ("scope.region", region)):
            if not _NAME.fullmatch(value):
                raise invalid(field, "must be 1 to 64 characters: letters, digits, '.', '_', '-'")
        _check_unit(organizational_unit)
        async with self._database.transaction() as tx:
            before = await targets.get(tx.connection, account, region, for_update=True)
            unit = organizational_unit or (before.organizational_unit if before else "")
            old = before or Target(account, region, "", False, self._clock(), "")
            return await self._change(tx, caller, old, enabled, unit)

    async def set_unit(
        self, caller: Caller, organizational_unit: str, region: str, *, enabled: bool
    ) -> list[Target]:
        """Every target placed in the unit, in one Region or ("") in all.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, UNIT_NOT_FOUND.
        """
        _check_unit(organizational_unit)
        async with self._database.transaction() as tx:
            found = await targets.of_unit(tx.connection, organizational_unit, region)
            if not found:
                raise Refused(
                    Kind.NOT_FOUND,
                    "UNIT_NOT_FOUND",
                    f"no account is placed in the organizational unit {organizational_unit}",
                    "Place one there by naming the account and the unit.",
                )
            return [await self._change(tx, caller, old, enabled, organizational_unit) for old in found]

    async def _change(self, tx: Transaction, caller: Caller, old: Target, enabled: bool, unit: str) -> Target:
        caller.require(declared.PERMISSION_WRITE_TARGETS, old.account, old.region)
        new = replace(
            old,
            enabled=enabled,
            organizational_unit=unit,
            changed_at=self._clock(),
            changed_by=caller.user.id,
        )
        await targets.put(tx.connection, new)
        if old.enabled and not enabled:
            await self._ender.scope_disabled(tx, old.account, old.region, caller.actor)
        verb = "enabled" if enabled else "disabled"
        event = Event(
            f"target.{verb}",
            new.changed_at,
            f"{old.account}/{old.region}",
            f"{caller.user.id} {verb} access in account {old.account}, Region {old.region}",
            caller.user.id,
            caller.source_address,
            old.account,
            old.region,
            {"organizational_unit": unit},
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("targets"))
        return new


def _check_unit(organizational_unit: str) -> None:
    if organizational_unit and not _NAME.fullmatch(organizational_unit):
        raise invalid("organizational_unit", "must be 1 to 64 characters: letters, digits, '.', '_', '-'")

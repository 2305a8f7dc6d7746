"""Writing policies (R1, R10, R12, R32)."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access import ground, warnings
from gateway.access.compiled import CompiledPolicies
from gateway.access.model import PolicyKey, StoredPolicy
from gateway.access.policy_keys import FIXED_NAMES, key_of, place_of, policy_not_found
from gateway.errors import FieldViolation, Kind, Refused, invalid
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import events, policies
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from jitgate.v1 import annotations_pb2 as declared
from policy.findings import Finding
from policy.manual import find_overlaps
from policy.model import ManualPolicy, PolicyKind
from policy.written import Policy, read_policy, says_nothing

MAX_MANUAL = 50
_EMPTY = {
    PolicyKind.AUTO: "There is no permit in it: nothing is approved at once any more.",
    PolicyKind.DENY: "There is no forbid in it: nothing is kept from auto-approval any more.",
}


class PolicyInvalid(Refused):
    """A text that may not be stored, with everything that is wrong with it (R12)."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        super().__init__(
            Kind.INVALID_ARGUMENT,
            "POLICY_INVALID",
            f"The policy is not valid: {findings[0]}{more}.",
            "Write what the findings say instead, then put it again: jit policies validate --help",
            fields=(FieldViolation("text", str(findings[0])),),
        )
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a text, and what is worth knowing of it though it may be stored."""

    findings: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()


class Policies:
    """The use cases that change policies, and the check before it."""

    def __init__(self, database: Database, clock: Clock, changes: Changes, compiled: CompiledPolicies) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._compiled = compiled

    async def put(
        self,
        caller: Caller,
        kind: PolicyKind,
        scope: tuple[str, str],
        text: str,
        *,
        name: str = "",
        expected_version: int | None = None,
        create_only: bool = False,
    ) -> tuple[StoredPolicy, tuple[str, ...]]:
        """Puts a new version in force; with it come warnings. `name`: of a policy whose text doesn't say it.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, POLICY_INVALID (a PolicyInvalid), POLICY_OVERLAP,
        POLICY_EXISTS, POLICY_LIMIT, VERSION_CHANGED.
        """
        account, region = place_of(kind, scope)
        caller.require(declared.PERMISSION_WRITE_POLICIES, account, region, kind.value)
        read = await _read(kind, account, region, text, name)
        if isinstance(read, list):
            raise PolicyInvalid(tuple(read))
        async with self._database.transaction() as tx:
            now = self._clock()
            caller = await ground.afresh(tx.connection, caller, now)
            caller.require(declared.PERMISSION_WRITE_POLICIES, account, region, kind.value)
            key = PolicyKey(kind, account, region, _name(kind, read))
            await policies.lock_scope(tx.connection, account, region)
            last, exists = await policies.lock_head(tx.connection, key)
            _refuse_unexpected(key, last if exists else 0, expected_version, create_only)
            if isinstance(read, ManualPolicy):
                await self._refuse_crowding(tx.connection, read, exists)
            stored = StoredPolicy(key, last + 1, text, read.description, caller.user.id, now)
            await policies.add_version(tx.connection, stored)
            verb = "changed" if exists else "created"
            await self._tell(tx, caller, f"policy.{verb}", stored, now)
            worth_knowing = await self._warnings(tx.connection, read, now)
        return stored, worth_knowing

    async def delete(self, caller: Caller, kind: PolicyKind, scope: tuple[str, str], name: str) -> None:
        """Puts a policy out of force; requests that pinned a version go on by it (R21).

        Raises Refused: NOT_PERMITTED, POLICY_NOT_FOUND.
        """
        key = key_of(kind, scope, name)
        caller.require(declared.PERMISSION_WRITE_POLICIES, key.account, key.region, kind.value)
        async with self._database.transaction() as tx:
            now = self._clock()
            caller = await ground.afresh(tx.connection, caller, now)
            caller.require(declared.PERMISSION_WRITE_POLICIES, key.account, key.region, kind.value)
            await policies.lock_scope(tx.connection, key.account, key.region)
            _, exists = await policies.lock_head(tx.connection, key)
            stored = await policies.get(tx.connection, key) if exists else None
            if stored is None:
                raise policy_not_found(key)
            await policies.remove(tx.connection, key, now)
            await self._tell(tx, caller, "policy.deleted", stored, now)

    async def validate(
        self, caller: Caller, kind: PolicyKind, scope: tuple[str, str], text: str, *, name: str = ""
    ) -> Checked:
        """Checks a text without storing it.

        What the directory or other policies have to do with it is told only to those who may put it.
        """
        account, region = place_of(kind, scope)
        read = await _read(kind, account, region, text, name)
        if isinstance(read, list):
            return Checked(tuple(read))
        if not caller.may(declared.PERMISSION_WRITE_POLICIES, account, region, kind.value):
            return Checked(())
        async with self._database.read() as connection:
            worth_knowing = await self._warnings(connection, read, self._clock())
            if isinstance(read, ManualPolicy):
                overlaps = find_overlaps(read, await self._manual(connection, read))
                worth_knowing += tuple(
                    f"The policy {other.policy} targets {other.where} already: this one would be refused."
                    for other in overlaps
                )
        return Checked((), worth_knowing)

    async def _refuse_crowding(self, connection: AsyncConnection, new: ManualPolicy, exists: bool) -> None:
        others = await self._manual(connection, new)
        if overlaps := find_overlaps(new, others):
            first = overlaps[0]
            raise Refused(
                Kind.ALREADY_EXISTS,
                "POLICY_OVERLAP",
                f"{new.name} would target {first.where}, which the policy {first.policy} targets already.",
                f"Target something else, or change {first.policy} first.",
                metadata={"policy": first.policy, "where": first.where},
            )
        if not exists and len(others) >= MAX_MANUAL:
            raise Refused(
                Kind.RESOURCE_EXHAUSTED,
                "POLICY_LIMIT",
                f"Account {new.account}, Region {new.region} has {MAX_MANUAL} manual approval policies already.",
                "Delete one, or put several tags into one policy.",
            )

    async def _manual(self, connection: AsyncConnection, new: ManualPolicy) -> list[ManualPolicy]:
        """The other manual policies in force in its scope."""
        in_force = (await self._compiled.deciding(connection, new.account, new.region)).manual
        return [policy for policy in in_force if policy.name != new.name]

    async def _warnings(self, connection: AsyncConnection, read: Policy, now: datetime) -> tuple[str, ...]:
        if isinstance(read, ManualPolicy):
            return await warnings.about(connection, read, now)
        return (_EMPTY[read.kind],) if says_nothing(read) else ()

    async def _tell(
        self, tx: Transaction, caller: Caller, event_type: str, stored: StoredPolicy, now: datetime
    ) -> None:
        key = stored.key
        verb = event_type.partition(".")[2]
        await events.append(
            tx.connection,
            events.Event(
                type=event_type,
                at=now,
                subject=f"{key.kind.value}/{key.account}/{key.region}/{key.name}",
                summary=f"{caller.user.id} {verb} {key.kind.value} policy {key.name}, version {stored.version}",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                account=key.account,
                region=key.region,
                details={"kind": key.kind.value, "name": key.name, "version": stored.version},
            ),
        )
        tx.after_commit(lambda: self._changes.publish("policies"))


def _name(kind: PolicyKind, read: Policy) -> str:
    return read.name if isinstance(read, ManualPolicy) else FIXED_NAMES[kind]


async def _read(kind: PolicyKind, account: str, region: str, text: str, name: str) -> Policy | list[Finding]:
    """What a text is, or all that is wrong with it. Raises Refused INVALID_FIELD."""
    fixed = FIXED_NAMES.get(kind)
    if fixed and name not in ("", fixed):
        raise invalid("name", f"of the {kind.value} policy is {fixed}, always", "Leave the name out.")
    return await asyncio.to_thread(read_policy, kind, text, account=account, region=region, name=name)


def _refuse_unexpected(key: PolicyKey, current: int, expected: int | None, create_only: bool) -> None:
    if create_only and current:
        raise Refused(
            Kind.ALREADY_EXISTS,
            "POLICY_EXISTS",
            f"There is a {key.kind.value} policy {key.name} already, in version {current}.",
            "Put it without create_only to make a new version.",
            metadata={"policy": key.name, "version": str(current)},
        )
    if expected is not None and expected != current:
        raise Refused(
            Kind.ABORTED,
            "VERSION_CHANGED",
            f"{key.name} is in version {current}, not {expected}: somebody else changed it.",
            "Look at what is in force, then put your change anew: jit policies show --help",
            metadata={"policy": key.name, "version": str(current)},
        )

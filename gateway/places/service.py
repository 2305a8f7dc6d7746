"""What of AWS accounts may use: said by the organization administrator (R26, R32)."""

from dataclasses import replace
from datetime import datetime

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE
from gateway.identity.ports import Clock
from gateway.places.model import Allowance, AllowanceKind
from gateway.store import allowances
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.events import Event, append
from jitgate.v1 import annotations_pb2 as declared

WRITE = declared.PERMISSION_WRITE_ALLOWANCES


class Allowances:
    """A change holds for preferences that are set and for sessions that begin after it."""

    def __init__(self, database: Database, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def of(self, caller: Caller, account: str = "") -> list[Allowance]:
        """Those of an account, or ("") of every account whose preferences the caller may read."""
        async with self._database.read() as connection:
            found = await allowances.of(connection, account)
        readable = {place for place, _ in caller.scopes(declared.PERMISSION_READ_PREFERENCES)}
        return [each for each in found if EVERYWHERE in readable or each.account in readable]

    async def allow(self, caller: Caller, new: Allowance) -> Allowance:
        """Adds it or replaces the one of that name. Raises Refused NOT_PERMITTED."""
        caller.require(WRITE, EVERYWHERE, EVERYWHERE)
        async with self._database.transaction() as tx:
            before = await allowances.get(tx.connection, new.account, new.kind, new.name, for_update=True)
            now = self._clock()
            new = replace(new, changed_at=now, changed_by=caller.user.id)
            await allowances.put(tx.connection, new)
            await append(tx.connection, _event(caller, "added" if before is None else "changed", before, new, now))
            tx.after_commit(lambda: self._changes.publish("allowances"))
        return new

    async def disallow(self, caller: Caller, account: str, kind: AllowanceKind, name: str) -> None:
        """Raises Refused: NOT_PERMITTED, ALLOWANCE_NOT_FOUND."""
        caller.require(WRITE, EVERYWHERE, EVERYWHERE)
        async with self._database.transaction() as tx:
            old = await allowances.get(tx.connection, account, kind, name, for_update=True)
            if old is None:
                raise Refused(
                    Kind.NOT_FOUND,
                    "ALLOWANCE_NOT_FOUND",
                    f"account {account} is allowed no {kind.value.replace('_', ' ')} {name}",
                    f"Look at what it is allowed: jit allowances list --account {account}",
                )
            await allowances.remove(tx.connection, old)
            await append(tx.connection, _event(caller, "removed", old, None, self._clock()))
            tx.after_commit(lambda: self._changes.publish("allowances"))


_VERBS = {"added": "allowed", "changed": "changed", "removed": "withdrew"}


def _event(caller: Caller, change: str, before: Allowance | None, after: Allowance | None, at: datetime) -> Event:
    about = after or before
    assert about is not None
    return Event(
        f"allowance.{change}",
        at,
        about.account,
        f"{caller.user.id} {_VERBS[change]} the {about.kind.value.replace('_', ' ')} {about.name} "
        f"for account {about.account}",
        caller.user.id,
        caller.source_address,
        about.account,
        details={"kind": about.kind.value, "name": about.name, "before": _told(before), "after": _told(after)},
    )


def _told(allowance: Allowance | None) -> dict[str, str] | None:
    if allowance is None:
        return None
    return {
        "owner": allowance.owner,
        "aws_region": allowance.aws_region,
        "external_id": allowance.external_id,
    }

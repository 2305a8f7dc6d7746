"""Reading policies, and what they would say to a request (R14, R32)."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.access import ground
from gateway.access.compiled import CompiledPolicies, read_stored
from gateway.access.model import StoredPolicy
from gateway.access.policy_keys import key_of, policy_not_found
from gateway.access.principal import principal_of
from gateway.access.warnings import hindrances
from gateway.errors import Kind, Refused, invalid
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import directory, policies
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared
from policy.explanation import outcome_to_dict
from policy.model import PolicyKind, Resource
from policy.ssm.manual import NoCounterpart
from policy.written import Form, forms_of, in_form

_WORDS = {
    "auto_approved": "approved at once",
    "needs_approval": "people have to approve",
    "conflict": "fails, as several manual policies target the node",
    "no_policy": "fails, as no policy applies",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """What a request would meet, without making one."""

    outcome: str  # auto_approved | needs_approval | conflict | no_policy
    summary: str
    explanation: dict[str, Any]


class PolicyReader:
    """The use cases that only read."""

    def __init__(self, database: Database, clock: Clock, compiled: CompiledPolicies) -> None:
        self._database = database
        self._clock = clock
        self._compiled = compiled

    async def get(
        self,
        caller: Caller,
        kind: PolicyKind,
        scope: tuple[str, str],
        name: str,
        version: int = 0,
        *,
        form: Form | None = None,
    ) -> StoredPolicy:
        """That version (0: the one in force), its text in that form (None: as it was put).

        Raises Refused: POLICY_NOT_FOUND, NOT_PERMITTED; of a form INVALID_FIELD, NO_COUNTERPART, POLICY_UNUSABLE.
        """
        if form is not None and form not in forms_of(kind):
            known = " or ".join(forms_of(kind))
            raise invalid(
                "form", f"of a {kind.value} policy is {known}, not {form.value}", "Ask for one of these."
            )
        key = key_of(kind, scope, name)
        _require_reading(caller, kind, scope)
        async with self._database.read() as connection:
            stored = await policies.get(connection, key, version)
        if stored is None:
            raise policy_not_found(key)
        return stored if form is None else await asyncio.to_thread(_in_form, stored, form)

    async def newest(
        self,
        caller: Caller,
        scope: tuple[str, str],
        kind: PolicyKind | None,
        limit: int,
        after: tuple[datetime, str, str] | None = None,
    ) -> tuple[list[StoredPolicy], bool]:
        """What is in force in a scope, the deny policy included, newest first; whether there is more."""
        _require_reading(caller, kind, scope)
        kinds = frozenset(PolicyKind) if kind is None else frozenset({kind})
        async with self._database.read() as connection:
            found = await policies.newest(connection, scope, kinds, limit + 1, after)
        return found[:limit], len(found) > limit

    async def versions(
        self,
        caller: Caller,
        kind: PolicyKind,
        scope: tuple[str, str],
        name: str,
        *,
        limit: int,
        below: int | None = None,
    ) -> tuple[list[StoredPolicy], bool]:
        """All versions of one policy, newest first; whether there are more."""
        key = key_of(kind, scope, name)
        _require_reading(caller, kind, scope)
        async with self._database.read() as connection:
            found = await policies.versions(connection, key, limit + 1, below)
        return found[:limit], len(found) > limit

    async def explain(
        self, caller: Caller, scope: tuple[str, str], user_id: str, node_reference: str
    ) -> Explained:
        """What a request of that person for that node would meet, statement by statement (R14).

        Raises Refused: NOT_PERMITTED, USER_NOT_FOUND, NODE_NOT_FOUND, POLICY_UNUSABLE.
        """
        caller.require(declared.PERMISSION_READ_POLICIES, *scope)
        async with self._database.read() as connection:
            known = await directory.identity(connection, user_id, self._clock())
            if known is None:
                raise Refused(
                    Kind.NOT_FOUND, "USER_NOT_FOUND", f"There is no user {user_id}.", "Look: jit users list"
                )
            node = await ground.find_node(connection, node_reference, scope)
            deciding = await self._compiled.deciding(connection, *scope)
            decision = deciding.explain(principal_of(known[0]), Resource(node.id, node.tags))
            found = await hindrances(connection, *known, node)
        outcome = outcome_to_dict(decision.outcome)["kind"]
        said = f"{user_id} asking for {node.name}: {_WORDS[outcome]}."
        if found:
            said += " But before the policies are asked: " + "; ".join(found) + "."
        return Explained(outcome, said, {**decision.explanation.to_dict(), "hindrances": list(found)})


def _in_form(stored: StoredPolicy, form: Form) -> StoredPolicy:
    try:
        return replace(stored, text=in_form(read_stored(stored), stored.text, form))
    except NoCounterpart as missing:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "NO_COUNTERPART",
            f"{stored.key.name} says what has no counterpart in the form of {form.value}: {missing}.",
            "Look at it as it was put, or put it without that.",
            metadata={"policy": stored.key.name, "what": str(missing)},
        ) from None


def _require_reading(caller: Caller, kind: PolicyKind | None, scope: tuple[str, str]) -> None:
    """The deny policy holds everywhere, so whoever reads policies anywhere may read it."""
    if kind is PolicyKind.DENY:
        caller.require(declared.PERMISSION_READ_POLICIES)
    else:
        caller.require(declared.PERMISSION_READ_POLICIES, *scope)

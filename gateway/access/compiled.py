"""The policies that decide in a scope, compiled once per version."""

import asyncio
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.model import PolicyKey, StoredPolicy
from gateway.errors import Kind, Refused
from gateway.store import policies
from policy.cedar import CompiledCedar, compile_document
from policy.evaluate import Decision, evaluate, explain
from policy.model import CedarDocument, ManualPolicy, PolicyKind, Principal, Resource
from policy.written import Policy, accepted_policy


@dataclass(frozen=True, slots=True)
class Deciding:
    """What decides in one account and Region, in the versions that are in force."""

    deny: CompiledCedar | None
    auto: CompiledCedar | None
    manual: tuple[ManualPolicy, ...]

    def evaluate(self, principal: Principal, resource: Resource) -> Decision:
        return evaluate(self.deny, self.auto, self.manual, principal, resource)

    def explain(self, principal: Principal, resource: Resource) -> Decision:
        return explain(self.deny, self.auto, self.manual, principal, resource)


class CompiledPolicies:
    """Keeps the latest version of each policy in the form that decides; a version never changes its text."""

    def __init__(self) -> None:
        self._kept: dict[PolicyKey, tuple[int, CompiledCedar | ManualPolicy]] = {}

    async def deciding(self, connection: AsyncConnection, account: str, region: str) -> Deciding:
        """Raises Refused POLICY_UNUSABLE for a stored manual policy that no longer reads: to leave it out could
        let a laxer one decide."""
        deny = auto = None
        manual = []
        for key, version in await policies.in_force(connection, account, region):
            match await self._compiled(connection, key, version):
                case ManualPolicy() as policy:
                    manual.append(policy)
                case CompiledCedar() as document if key.kind is PolicyKind.DENY:
                    deny = document
                case CompiledCedar() as document:
                    auto = document
        return Deciding(deny, auto, tuple(manual))

    async def _compiled(
        self, connection: AsyncConnection, key: PolicyKey, version: int
    ) -> CompiledCedar | ManualPolicy:
        kept = self._kept.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        stored = await policies.get(connection, key, version)
        if stored is None:
            raise RuntimeError(f"version {version} of {key} is in force and not there")
        compiled = await asyncio.to_thread(_compile, stored)
        self._kept[key] = (version, compiled)
        return compiled


def _compile(stored: StoredPolicy) -> CompiledCedar | ManualPolicy:
    read = read_stored(stored)
    return compile_document(read) if isinstance(read, CedarDocument) else read


def read_stored(stored: StoredPolicy) -> Policy:
    """The policy that a version's text is. Raises Refused POLICY_UNUSABLE."""
    key = stored.key
    read = accepted_policy(
        key.kind, stored.text, account=key.account, region=key.region, version=stored.version, name=key.name
    )
    if not isinstance(read, list):
        return read
    raise Refused(
        Kind.FAILED_PRECONDITION,
        "POLICY_UNUSABLE",
        f"The manual approval policy {key.name}, version {stored.version}, can't be read: {read[0]}",
        "Ask a policy administrator to put it anew, or to delete it.",
        metadata={"policy": key.name},
    )

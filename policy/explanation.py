"""Why a decision fell as it did, as a value that is kept with the request (R14)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policy.model import (
    AutoApproved,
    Conflict,
    NeedsApproval,
    NoPolicy,
    Outcome,
    PolicyKind,
    Principal,
    Resource,
)


class Match(StrEnum):
    """How one Cedar statement met one request."""

    MATCHED = "matched"
    CONDITION_FALSE = "condition false"
    SCOPE_MISMATCH = "scope mismatch"
    ERROR = "error"


class Effect(StrEnum):
    """What a Cedar document as a whole did to auto-approval."""

    APPROVES = "approves"
    GRANTS_NOTHING = "grants nothing"
    DENIES = "denies auto-approval"
    DOES_NOT_DENY = "does not deny"
    UNUSABLE = "could not be evaluated"
    NOT_ASKED = "not asked"
    ABSENT = "no such policy"


@dataclass(frozen=True, slots=True)
class StatementAccount:
    """One statement of a Cedar document. `line` is 1-based, 0 where unknown."""

    id: str
    line: int
    text: str
    """How the statement begins, for a reader to know it by."""
    match: Match
    why: str = ""
    """For a mismatch, a false condition or an error: what exactly."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {
            "id": self.id,
            "line": self.line,
            "text": self.text,
            "match": self.match.value,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class DocumentAccount:
    """One Cedar document. `version` is None where there is no such policy.

    `statements` are those whose principal scope fits; the other `out_of_scope` ones were not evaluated, as
    they name another user or group. `explain` lists those too, and then `out_of_scope` is 0.
    """

    kind: PolicyKind
    version: int | None
    effect: Effect
    why: str = ""
    statements: tuple[StatementAccount, ...] = ()
    out_of_scope: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {
            "kind": self.kind.value,
            "version": self.version,
            "effect": self.effect.value,
            "why": self.why,
            "statements": [statement.to_dict() for statement in self.statements],
            "out_of_scope": self.out_of_scope,
        }


@dataclass(frozen=True, slots=True)
class ManualAccount:
    """One manual policy: whether its targets fit the node, and what became of it."""

    policy: str
    version: int
    matched: bool
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {"policy": self.policy, "version": self.version, "matched": self.matched, "why": self.why}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole account: what the decision was made on, and what each policy had to say.

    `manual` is empty where the request was auto-approved, unless `explain` made the account.
    """

    principal: Principal
    resource: Resource
    deny: DocumentAccount
    auto: DocumentAccount
    manual: tuple[ManualAccount, ...]
    outcome: Outcome

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it: only dict, list, str, int, bool and None."""
        return {
            "outcome": outcome_to_dict(self.outcome),
            "principal": {
                "id": self.principal.id,
                "groups": sorted(self.principal.groups),
                "attributes": self.principal.attributes.for_cedar(),
                "principal_tags": dict(self.principal.principal_tags),
            },
            "node": {"id": self.resource.node_id, "tags": dict(self.resource.tags)},
            "deny": self.deny.to_dict(),
            "auto": self.auto.to_dict(),
            "manual": [account.to_dict() for account in self.manual],
        }


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON would have it, told apart by `kind`."""
    match outcome:
        case AutoApproved(version, statements):
            return {"kind": "auto_approved", "version": version, "statements": list(statements)}
        case NeedsApproval(policy):
            return {"kind": "needs_approval", "policy": policy.name, "version": policy.version}
        case Conflict(claims):
            return {
                "kind": "conflict",
                "policies": [
                    {
                        "policy": claim.policy,
                        "version": claim.version,
                        "tags": [{"key": key, "value": value} for key, value in claim.tags],
                    }
                    for claim in claims
                ],
            }
        case NoPolicy():
            return {"kind": "no_policy"}

"""Manual approval policies: their document form, their limits, and which one decides about a node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.explanation import ManualAccount
from policy.findings import Finding
from policy.model import Conflict, ManualPolicy, NeedsApproval, NoPolicy, Resource


def parse_manual(text: str, *, account: str, region: str, version: int) -> ManualPolicy | list[Finding]:
    """A policy from YAML or JSON text, or everything that is wrong with it."""
    raise NotImplementedError


def to_yaml(policy: ManualPolicy) -> str:
    """The policy in the canonical document form; parsing it gives the same policy."""
    raise NotImplementedError


def to_json(policy: ManualPolicy) -> str:
    """The policy in the canonical document form, as JSON."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another policy that targets the same nodes already, and where: `tag Workload=db`, `all nodes`."""

    policy: str
    where: str


def overlaps(one: ManualPolicy, other: ManualPolicy) -> bool:
    """Whether both target the same tag, or both all nodes, in one account and Region (R10)."""
    raise NotImplementedError


def find_overlaps(new: ManualPolicy, existing: Iterable[ManualPolicy]) -> list[Overlap]:
    """The policies that `new` would overlap; an older version of `new` itself is none."""
    raise NotImplementedError


def select(policies: Sequence[ManualPolicy], resource: Resource) -> NeedsApproval | Conflict | NoPolicy:
    """Which policy decides about this node (R8, R9, R11)."""
    raise NotImplementedError


def account_of(policies: Sequence[ManualPolicy], resource: Resource) -> tuple[ManualAccount, ...]:
    """What became of each policy, for the explanation (R14)."""
    raise NotImplementedError

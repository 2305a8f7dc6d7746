"""Which manual approval policy decides about a node, and which policies get in each other's way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.explanation import ManualAccount
from policy.model import (
    AllNodes,
    Claim,
    Conflict,
    ManualPolicy,
    NeedsApproval,
    NoPolicy,
    Resource,
    TagTarget,
    TagTargets,
)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another policy that targets the same nodes already, and where: `tag Workload=db`, `all nodes`."""

    policy: str
    where: str


def overlaps(one: ManualPolicy, other: ManualPolicy) -> bool:
    """Whether both target the same tag, or both all nodes, in one account and Region (R10)."""
    return bool(_overlap(one, other))


def find_overlaps(new: ManualPolicy, existing: Iterable[ManualPolicy]) -> list[Overlap]:
    """The policies that `new` would overlap; another version of `new` itself is none."""
    return [
        Overlap(policy.name, where)
        for policy in existing
        if policy.name != new.name and (where := _overlap(new, policy))
    ]


def _overlap(one: ManualPolicy, other: ManualPolicy) -> str:
    """Where two policies overlap, in words; empty: nowhere."""
    if (one.account, one.region) != (other.account, other.region):
        return ""
    match one.targets, other.targets:
        case AllNodes(), AllNodes():
            return "all nodes"
        case TagTargets(mine), TagTargets(theirs):
            shared = (_shared(a, b) for a in mine for b in theirs)
            return ", ".join(dict.fromkeys(where for where in shared if where))
        case _:
            return ""  # a tag beats all nodes (R8): that is order, not overlap


def _shared(one: TagTarget, other: TagTarget) -> str:
    if one.key != other.key:
        return ""
    if not one.values and not other.values:
        return f"tag {one.key}"
    both = [value for value in one.values or other.values if other.fits({one.key: value})]
    return f"tag {one.key}={'|'.join(both)}" if both else ""


def select(policies: Sequence[ManualPolicy], resource: Resource) -> NeedsApproval | Conflict | NoPolicy:
    """Which policy decides about this node (R8, R9, R11). The policies are those of its account and Region."""
    tagged = [policy for policy in policies if _tags_hit(policy, resource)]
    general = [policy for policy in policies if isinstance(policy.targets, AllNodes)]
    # Two policies for all nodes can't be stored (R10). If two are there all the same, none is the right one.
    deciding = tagged or general
    if not deciding:
        return NoPolicy()
    if len(deciding) == 1:
        return NeedsApproval(deciding[0])
    return Conflict(tuple(Claim(policy.name, policy.version, _tags_hit(policy, resource)) for policy in deciding))


def _tags_hit(policy: ManualPolicy, resource: Resource) -> tuple[tuple[str, str], ...]:
    """The node's tags that the policy targets. A policy may list one key twice; the tag counts once."""
    if not isinstance(policy.targets, TagTargets):
        return ()
    hit = {target.key for target in policy.targets.tags if target.fits(resource.tags)}
    return tuple((key, value) for key, value in sorted(resource.tags.items()) if key in hit)


def account_of(policies: Sequence[ManualPolicy], resource: Resource) -> tuple[ManualAccount, ...]:
    """What became of each policy, for the explanation (R14)."""
    chosen = select(policies, resource)
    return tuple(_account(policy, resource, chosen) for policy in policies)


def _account(
    policy: ManualPolicy, resource: Resource, chosen: NeedsApproval | Conflict | NoPolicy
) -> ManualAccount:
    hit = _tags_hit(policy, resource)
    matched = bool(hit) or isinstance(policy.targets, AllNodes)
    decides = isinstance(chosen, NeedsApproval) and chosen.policy is policy
    if hit:
        named = ", ".join(f"{key}={value}" for key, value in hit)
        why = f"targets {named} of the node" + ("" if decides else ", as another policy does: conflict")
    elif matched:
        why = "targets all nodes" + ("" if decides else _passed_over(chosen))
    else:
        why = "targets no tag of the node"
    return ManualAccount(policy.name, policy.version, matched, why)


def _passed_over(chosen: NeedsApproval | Conflict | NoPolicy) -> str:
    if isinstance(chosen, Conflict) and not any(claim.tags for claim in chosen.claims):
        return ", as another policy does: conflict"
    return "; a policy that targets a tag of the node goes before it"

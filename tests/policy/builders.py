"""Policies, people and nodes for the tests."""

from policy.cedar import CompiledCedar, compile_document
from policy.model import (
    ANYWHERE,
    AllNodes,
    Approver,
    ApproverType,
    Attributes,
    CedarDocument,
    Level,
    ManualPolicy,
    PolicyKind,
    Principal,
    Resource,
    TagTarget,
    TagTargets,
    Targets,
)

INSTANCE_ID = "i-0123456789abcdef0"
MANAGED_ID = "mi-0123456789abcdef0"
ALICE = Principal("alice", frozenset({"sre", "dba"}), Attributes(division="Finance"), {"AccessLevel": "Elevated"})
NODE = Resource(INSTANCE_ID, {"Environment": "prod", "Workload": "db"})


def deny(text: str, version: int = 7) -> CompiledCedar:
    return compile_document(CedarDocument(PolicyKind.DENY, ANYWHERE, ANYWHERE, version, text))


def auto(text: str, version: int = 3) -> CompiledCedar:
    return compile_document(CedarDocument(PolicyKind.AUTO, "default", "default", version, text))


def permit(condition: str = "true", scope: str = "principal, action, resource") -> str:
    return f"permit({scope}) when {{ {condition} }};\n"


def forbid(condition: str = "true", scope: str = "principal, action, resource") -> str:
    return f"forbid({scope}) when {{ {condition} }};\n"


def tagged(*targets: TagTarget) -> TagTargets:
    return TagTargets(targets)


def group(name: str) -> Approver:
    return Approver(ApproverType.GROUP, name)


def user(name: str) -> Approver:
    return Approver(ApproverType.USER, name)


def manual(
    name: str = "everything",
    targets: Targets = AllNodes(),  # noqa: B008 # a frozen value
    levels: tuple[Level, ...] = (Level((group("sre"),)),),
    *,
    region: str = "default",
    version: int = 1,
    distinct_persons_in_request: bool = True,
) -> ManualPolicy:
    return ManualPolicy(
        name=name,
        description="",
        version=version,
        account="default",
        region=region,
        access_hours=4,
        targets=targets,
        levels=levels,
        distinct_persons_in_request=distinct_persons_in_request,
    )

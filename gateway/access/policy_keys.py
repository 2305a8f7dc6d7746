"""How a policy is named: its kind, its place, its name (R1)."""

from gateway.access.model import PolicyKey
from gateway.access.plan import AUTO_NAME, DENY_NAME
from gateway.errors import Kind, Refused
from policy.model import ANYWHERE, PolicyKind

FIXED_NAMES = {PolicyKind.DENY: DENY_NAME, PolicyKind.AUTO: AUTO_NAME}


def place_of(kind: PolicyKind, scope: tuple[str, str]) -> tuple[str, str]:
    return (ANYWHERE, ANYWHERE) if kind is PolicyKind.DENY else scope


def key_of(kind: PolicyKind, scope: tuple[str, str], name: str) -> PolicyKey:
    """Deny and auto have fixed names, which may be left out."""
    return PolicyKey(kind, *place_of(kind, scope), name or FIXED_NAMES.get(kind, ""))


def policy_not_found(key: PolicyKey) -> Refused:
    return Refused(
        Kind.NOT_FOUND,
        "POLICY_NOT_FOUND",
        f"There is no {key.kind.value} policy {key.name} in account {key.account}, Region {key.region}.",
        "Look at the policies: jit policies list",
    )

"""Strict validation of Cedar documents against the schema, before they are stored (R12)."""

from policy.findings import Finding
from policy.model import PolicyKind

MAX_BYTES = 256 * 1024
MAX_STATEMENTS = 2_000


def validate_cedar(kind: PolicyKind, text: str) -> list[Finding]:
    """All that is wrong with a deny-access or auto-approval policy, in text order; empty: accepted.

    Raises ValueError for `PolicyKind.MANUAL`, which is no Cedar.
    """
    raise NotImplementedError

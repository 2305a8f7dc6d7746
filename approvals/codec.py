"""Plans, approvals and events as JSON-able values, for columns and messages."""

from collections.abc import Mapping, Sequence

from approvals.model import Approval, Plan
from approvals.outcomes import RequestEvent


def plan_to_json(plan: Plan) -> dict[str, object]:
    raise NotImplementedError


def plan_from_json(value: Mapping[str, object]) -> Plan:
    """Raises ValueError for anything `plan_to_json` did not write."""
    raise NotImplementedError


def approvals_to_json(approvals: Sequence[Approval]) -> list[dict[str, object]]:
    raise NotImplementedError


def approvals_from_json(value: Sequence[Mapping[str, object]]) -> tuple[Approval, ...]:
    """Raises ValueError for anything `approvals_to_json` did not write."""
    raise NotImplementedError


def event_to_json(event: RequestEvent) -> dict[str, object]:
    raise NotImplementedError

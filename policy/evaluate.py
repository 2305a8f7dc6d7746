"""From policies, a person and a node to a decision (R5 to R14)."""

from collections.abc import Sequence
from dataclasses import dataclass

from policy.cedar import CompiledCedar
from policy.explanation import Explanation
from policy.model import ManualPolicy, Outcome, Principal, Resource


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen to the request, and why."""

    outcome: Outcome
    explanation: Explanation


def evaluate(
    deny: CompiledCedar | None,
    auto: CompiledCedar | None,
    manual: Sequence[ManualPolicy],
    principal: Principal,
    resource: Resource,
) -> Decision:
    """Decide a request. None: the organization, or the account and Region, has no such policy.

    `auto` and `manual` are those of the account and Region that node and requester share (R1, R2).
    Never raises for what is in a policy: what can't be evaluated doesn't approve (R13).
    """
    raise NotImplementedError


def explain(
    deny: CompiledCedar | None,
    auto: CompiledCedar | None,
    manual: Sequence[ManualPolicy],
    principal: Principal,
    resource: Resource,
) -> Decision:
    """The same decision with the whole account: every statement of every document, and every manual policy.

    Slower than `evaluate`, whose account leaves out what could not have changed the decision.
    """
    raise NotImplementedError

"""From the policies' decision to the plan that the approvals core follows."""

from datetime import timedelta

from approvals.model import (
    ApprovalPlan,
    Approver,
    ApproverKind,
    AutoApproval,
    EndReason,
    Failure,
    Level,
    Plan,
    PolicyRef,
    WindowStarts,
)
from gateway.nodes.model import Node
from policy.model import Approver as NamedApprover
from policy.model import AutoApproved, Conflict, ManualPolicy, NeedsApproval, NoPolicy, Outcome

AUTO_NAME = "auto-approval"
DENY_NAME = "deny-access"


def plan_of(outcome: Outcome, node: Node) -> Plan:
    """What is to become of a request for that node."""
    match outcome:
        case AutoApproved(version):
            return AutoApproval(PolicyRef(AUTO_NAME, version))
        case NeedsApproval(policy):
            return _levels_of(policy)
        case Conflict(claims):
            names = ", ".join(claim.policy for claim in claims)
            details = [
                {
                    "name": claim.policy,
                    "version": claim.version,
                    "tags": [f"{key}={value}" if value else key for key, value in claim.tags],
                }
                for claim in claims
            ]
            return Failure(
                EndReason.POLICY_CONFLICT,
                f"Several manual approval policies target tags of {node.name}: {names}.",
                {"policies": details},
            )
        case NoPolicy():
            return Failure(EndReason.NO_POLICY, f"No approval policy applies to {node.name}.")


def disabled(node: Node) -> Failure:
    return Failure(
        EndReason.DISABLED,
        f"Just-in-time access is not enabled in account {node.account}, Region {node.region}.",
    )


def _levels_of(policy: ManualPolicy) -> ApprovalPlan:
    levels = tuple(
        Level(
            _approvers(level.approvers),
            level.approvals_needed,
            level.escalate_after,
            _approvers(level.escalate_to),
            level.sign_in_within,
        )
        for level in policy.levels
    )
    return ApprovalPlan(
        policy=PolicyRef(policy.name, policy.version),
        access_duration=timedelta(hours=policy.access_hours),
        levels=levels,
        pending_timeout=policy.pending_timeout,
        window_starts=WindowStarts(policy.window_starts.value),
        distinct_persons_per_request=policy.distinct_persons_in_request,
        remind_every=policy.remind_every,
    )


def _approvers(named: tuple[NamedApprover, ...]) -> tuple[Approver, ...]:
    return tuple(Approver(ApproverKind(approver.type.value), approver.id) for approver in named)

"""An access request as the channels are told of it."""

from approvals.model import ApprovalPlan, EndReason, Failure, Level
from approvals.window import access_duration, next_deadline
from gateway.access.model import AccessRequest
from notifiers.model import Decided, LevelView, Subject


def subject_of(request: AccessRequest, requester_name: str) -> Subject:
    life = request.life
    plan = life.plan
    levels = plan.levels if isinstance(plan, ApprovalPlan) else ()
    current = life.current_level
    return Subject(
        request_id=life.id,
        requester=life.requester.user_id,
        requester_name=requester_name,
        reason=life.reason,
        account=life.account,
        region=life.region,
        node_id=life.node_id,
        node_name=request.node_name,
        status=life.status.value,
        opened_at=life.opened_at,
        policy=life.policy.name if life.policy else "",
        policy_version=life.policy.version if life.policy else 0,
        level=0 if current is None else current + 1,
        levels=tuple(_level(level, len(life.approvals_of(place))) for place, level in enumerate(levels)),
        decisions=tuple(Decided(a.person.user_id, a.level + 1, a.at, a.comment) for a in life.approvals),
        access_hours=access_duration(life).total_seconds() / 3600,
        decide_before=None if current is None else next_deadline(life),
        window_start=life.window_start,
        window_end=life.window_end,
        ended_at=life.ended_at,
        ended_by=life.ended_by,
        end_reason=life.end_reason.value if life.end_reason else "",
        end_note=life.end_note,
        conflict=_conflict(plan) if isinstance(plan, Failure) else (),
        step_up=current is not None and levels[current].sign_in_within is not None,
    )


def _level(level: Level, given: int) -> LevelView:
    return LevelView(tuple(map(str, level.approvers)), level.needed, given)


def _conflict(failure: Failure) -> tuple[str, ...]:
    if failure.reason is not EndReason.POLICY_CONFLICT:
        return ()
    policies = failure.details.get("policies")
    return tuple(
        f"{policy['name']}: {', '.join(policy['tags'])}"
        for policy in (policies if isinstance(policies, list) else ())
    )

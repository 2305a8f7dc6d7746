"""Access requests in the form of the contract."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.struct_pb2 import Struct

from approvals.eligibility import escalates_at
from approvals.model import ApprovalPlan, Approver, AutoApproval, EndReason, Failure, Request, Status
from approvals.window import access_duration, next_deadline
from gateway.access.model import AccessRequest
from gateway.api.values import timestamp
from gateway.store.events import Event
from jitgate.v1 import access_pb2, common_pb2, identity_pb2

STATUSES: Mapping[Status, "access_pb2.AccessRequestStatus.ValueType"] = {
    Status.PENDING: access_pb2.ACCESS_REQUEST_STATUS_PENDING,
    Status.APPROVED: access_pb2.ACCESS_REQUEST_STATUS_APPROVED,
    Status.FAILED: access_pb2.ACCESS_REQUEST_STATUS_FAILED,
    Status.REJECTED: access_pb2.ACCESS_REQUEST_STATUS_REJECTED,
    Status.CANCELLED: access_pb2.ACCESS_REQUEST_STATUS_CANCELLED,
    Status.TIMED_OUT: access_pb2.ACCESS_REQUEST_STATUS_TIMED_OUT,
    Status.REVOKED: access_pb2.ACCESS_REQUEST_STATUS_REVOKED,
    Status.RETURNED: access_pb2.ACCESS_REQUEST_STATUS_RETURNED,
    Status.EXPIRED: access_pb2.ACCESS_REQUEST_STATUS_EXPIRED,
}
_WORDS = {
    EndReason.NO_POLICY: "No approval policy applies",
    EndReason.POLICY_CONFLICT: "Approval policies are in conflict",
    EndReason.DISABLED: "Just-in-time access is disabled",
    EndReason.USER_LOCKED: "The requester was locked",
    EndReason.USER_REMOVED: "The requester was removed",
    EndReason.ROLE_REVOKED: "The requester may not ask for access there any more",
    EndReason.NODE_LOCKED: "The node was locked",
    EndReason.NODE_REMOVED: "The node was removed",
    EndReason.TAGS_CHANGED: "The policies no longer decide the same way",
    EndReason.REQUESTER_CHANGED: "The policies no longer decide the same way",
    EndReason.DENIED: "An approver denied it",
    EndReason.CANCELLED: "The requester cancelled it",
    EndReason.NOT_DECIDED_IN_TIME: "Nobody decided in time",
    EndReason.REVOKED_BY_APPROVER: "An approver took the approval back",
    EndReason.REVOKED_BY_ADMINISTRATOR: "An administrator revoked it",
    EndReason.GIVEN_BACK: "The requester gave it back",
    EndReason.WINDOW_ENDED: "The window is over",
    EndReason.NO_FIRST_SESSION: "No session began within 24 hours",
}


def summary_message(request: AccessRequest) -> access_pb2.AccessRequest:
    """The request without events and explanation, as listings show it."""
    life = request.life
    pending = life.status is Status.PENDING
    awaits_session = life.status is Status.APPROVED and life.window_end is None
    return access_pb2.AccessRequest(
        id=life.id,
        scope=common_pb2.Scope(account=life.account, region=life.region),
        requester_id=life.requester.user_id,
        node_id=life.node_id,
        node_name=request.node_name,
        reason=life.reason,
        status=STATUSES[life.status],
        status_reason=_status_reason(life),
        policy=_policy(life),
        levels=_levels(life),
        current_level=life.current_level or 0,
        created_at=timestamp(life.opened_at),
        pending_until=timestamp(next_deadline(life)) if pending else None,
        window_start=timestamp(life.window_start),
        window_end=timestamp(life.window_end),
        access_seconds=0 if isinstance(life.plan, Failure) else int(access_duration(life).total_seconds()),
        conflict=_conflict(life),
        revision=request.revision,
        first_session_until=timestamp(next_deadline(life)) if awaits_session else None,
    )


def message(request: AccessRequest) -> access_pb2.AccessRequest:
    """The request with everything that is known of it."""
    result = summary_message(request)
    if request.explanation:
        result.explanation.CopyFrom(struct(request.explanation))
    for event in request.events:
        result.events.append(_event(event))
        decision = _decision(event)
        if decision is not None:
            level, taken = decision
            result.levels[level].decisions.append(taken)
    return result


def struct(value: Mapping[str, Any]) -> Struct:
    result = Struct()
    result.update(dict(value))
    return result


def _status_reason(life: Request) -> str:
    if life.end_reason is not None:
        words = _WORDS[life.end_reason]
        return f"{words}: {life.end_note}" if life.end_note else f"{words}."
    if life.status is Status.APPROVED:
        return "Approved at once." if isinstance(life.plan, AutoApproval) else "Approved by all levels."
    return ""


def _policy(life: Request) -> access_pb2.PolicyReference | None:
    if life.policy is None:
        return None
    auto = isinstance(life.plan, AutoApproval)
    kind = identity_pb2.POLICY_KIND_AUTO if auto else identity_pb2.POLICY_KIND_MANUAL
    return access_pb2.PolicyReference(kind=kind, name=life.policy.name, version=life.policy.version)


def _levels(life: Request) -> list[access_pb2.LevelProgress]:
    if not isinstance(life.plan, ApprovalPlan):
        return []
    return [
        access_pb2.LevelProgress(
            approvers=map(_approver, level.approvers),
            approvals_needed=level.needed,
            decisions=[
                access_pb2.Decision(
                    actor_id=approval.person.user_id,
                    verdict="approved",
                    comment=approval.comment,
                    at=timestamp(approval.at),
                )
                for approval in life.approvals_of(index)
            ],
            complete=len(life.approvals_of(index)) >= level.needed,
            escalate_to=map(_approver, level.escalate_to),
            escalates_at=timestamp(escalates_at(life, level) if index == life.current_level else None),
            sign_in_within_minutes=(level.sign_in_within or timedelta()) // timedelta(minutes=1),
        )
        for index, level in enumerate(life.plan.levels)
    ]


def _approver(approver: Approver) -> access_pb2.ApproverReference:
    return access_pb2.ApproverReference(type=approver.kind.value, id=approver.id)


def _conflict(life: Request) -> list[access_pb2.ConflictingPolicy]:
    if not isinstance(life.plan, Failure) or life.plan.reason is not EndReason.POLICY_CONFLICT:
        return []
    policies: Any = life.plan.details.get("policies", ())
    return [access_pb2.ConflictingPolicy(name=policy["name"], tags=policy["tags"]) for policy in policies]


def _event(event: Event) -> access_pb2.AccessRequestEvent:
    return access_pb2.AccessRequestEvent(
        type=event.type,
        at=timestamp(event.at),
        actor_id=event.actor_id,
        source_address=event.source_address,
        summary=event.summary,
    )


def _decision(event: Event) -> tuple[int, access_pb2.Decision] | None:
    """What only the events tell: denials and approvals that were taken back; with the level, from 0."""
    verdicts = {"access_request.rejected": "denied", "access_request.approval_withdrawn": "withdrawn"}
    verdict = verdicts.get(event.type)
    if verdict is None:
        return None
    told = event.details["details"]
    decision = access_pb2.Decision(
        actor_id=event.actor_id,
        verdict=verdict,
        comment=told.get("note", ""),
        at=timestamp(event.at),
    )
    return told["level"] - 1, decision

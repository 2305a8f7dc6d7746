"""Plans, approvals and events as JSON-able values, for columns and messages.

Whatever is stored carries the version of its form, so that a later form can still read an earlier one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from approvals.model import (
    Approval,
    ApprovalPlan,
    Approver,
    ApproverKind,
    AutoApproval,
    EndReason,
    Failure,
    Level,
    Person,
    Plan,
    PolicyRef,
    WindowStarts,
)
from approvals.outcomes import RequestEvent

FORM = 1


def plan_to_json(plan: Plan) -> dict[str, Any]:
    match plan:
        case AutoApproval(policy):
            return {"form": FORM, "kind": "auto", "policy": _policy_to_json(policy)}
        case Failure(reason, explanation, details):
            return {
                "form": FORM,
                "kind": "failure",
                "reason": reason.value,
                "explanation": explanation,
                "details": dict(details),
            }
        case ApprovalPlan():
            return {
                "form": FORM,
                "kind": "manual",
                "policy": _policy_to_json(plan.policy),
                "access_seconds": plan.access_duration.total_seconds(),
                "levels": [_level_to_json(level) for level in plan.levels],
                "pending_seconds": plan.pending_timeout.total_seconds(),
                "window_starts": plan.window_starts.value,
                "distinct_persons_per_request": plan.distinct_persons_per_request,
                **_known("remind_seconds", plan.remind_every),
            }


def _level_to_json(level: Level) -> dict[str, Any]:
    escalation = {"escalate_to": [_approver_to_json(a) for a in level.escalate_to]} if level.escalate_to else {}
    return {
        "approvers": [_approver_to_json(a) for a in level.approvers],
        "needed": level.needed,
        **_known("escalate_seconds", level.escalate_after),
        **escalation,
        **_known("sign_in_seconds", level.sign_in_within),
    }


def _known(name: str, span: timedelta | None) -> dict[str, float]:
    return {} if span is None else {name: span.total_seconds()}


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """Raises ValueError for anything `plan_to_json` did not write."""
    try:
        match (value["form"], value["kind"]):
            case (1, "auto"):
                return AutoApproval(_policy_from_json(value["policy"]))
            case (1, "failure"):
                return Failure(EndReason(value["reason"]), value["explanation"], dict(value["details"]))
            case (1, "manual"):
                return _manual_from_json(value)
            case (form, kind):
                raise ValueError(f"no plan of kind {kind!r} in form {form!r} is known")
    except (KeyError, TypeError) as error:
        raise ValueError(f"a stored plan is damaged: {error!r}") from error


def _manual_from_json(value: Mapping[str, Any]) -> ApprovalPlan:
    return ApprovalPlan(
        policy=_policy_from_json(value["policy"]),
        access_duration=timedelta(seconds=value["access_seconds"]),
        levels=tuple(_level_from_json(level) for level in value["levels"]),
        pending_timeout=timedelta(seconds=value["pending_seconds"]),
        window_starts=WindowStarts(value["window_starts"]),
        distinct_persons_per_request=value["distinct_persons_per_request"],
        remind_every=_span(value, "remind_seconds"),
    )


def _level_from_json(value: Mapping[str, Any]) -> Level:
    return Level(
        tuple(_approver_from_json(a) for a in value["approvers"]),
        value["needed"],
        _span(value, "escalate_seconds"),
        tuple(_approver_from_json(a) for a in value.get("escalate_to", ())),
        _span(value, "sign_in_seconds"),
    )


def _span(value: Mapping[str, Any], name: str) -> timedelta | None:
    return timedelta(seconds=value[name]) if name in value else None


def approvals_to_json(approvals: Sequence[Approval]) -> list[dict[str, Any]]:
    return [
        {
            "form": FORM,
            "level": a.level,
            "user_id": a.person.user_id,
            "person_id": a.person.person_id,
            "through": _approver_to_json(a.through),
            "at": a.at.isoformat(),
            "comment": a.comment,
            "source_address": a.source_address,
        }
        for a in approvals
    ]


def approvals_from_json(value: Sequence[Mapping[str, Any]]) -> tuple[Approval, ...]:
    """Raises ValueError for anything `approvals_to_json` did not write."""
    try:
        return tuple(_approval_from_json(a) for a in value)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a stored approval is damaged: {error!r}") from error


def _approval_from_json(value: Mapping[str, Any]) -> Approval:
    if value["form"] != FORM:
        raise ValueError(f"no approval in form {value['form']!r} is known")
    return Approval(
        level=value["level"],
        person=Person(value["user_id"], value["person_id"]),
        through=_approver_from_json(value["through"]),
        at=datetime.fromisoformat(value["at"]),
        comment=value["comment"],
        source_address=value["source_address"],
    )


def event_to_json(event: RequestEvent) -> dict[str, Any]:
    """The event for the outbox and the audit log; nothing reads it back into the core."""
    return {
        "form": FORM,
        "kind": event.kind.value,
        "request_id": event.request_id,
        "at": event.at.isoformat(),
        "status": event.status.value,
        "actor": event.actor,
        "source_address": event.source_address,
        "policy": _policy_to_json(event.policy) if event.policy else None,
        "details": dict(event.details),
    }


def _policy_to_json(policy: PolicyRef) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version}


def _policy_from_json(value: Mapping[str, Any]) -> PolicyRef:
    return PolicyRef(value["name"], value["version"])


def _approver_to_json(approver: Approver) -> dict[str, Any]:
    return {"kind": approver.kind.value, "id": approver.id}


def _approver_from_json(value: Mapping[str, Any]) -> Approver:
    return Approver(ApproverKind(value["kind"]), value["id"])

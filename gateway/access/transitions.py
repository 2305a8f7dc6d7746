"""A command on a stored request: decided by the core, written with its events, told after the commit."""

from dataclasses import replace
from datetime import datetime, timedelta

from approvals.codec import event_to_json
from approvals.commands import Command
from approvals.outcomes import EventKind, Refusal, RefusalReason, RequestEvent, Transition
from approvals.service import transition
from gateway.access.model import AccessRequest
from gateway.errors import FieldViolation, Kind, Refused
from gateway.store import events, requests, tokens
from gateway.store.changes import Changes
from gateway.store.database import Transaction

_KINDS = {
    RefusalReason.NOT_FOUND: Kind.NOT_FOUND,
    RefusalReason.ALREADY_OPEN: Kind.ALREADY_EXISTS,
    RefusalReason.INVALID_ID: Kind.INVALID_ARGUMENT,
    RefusalReason.INVALID_REASON: Kind.INVALID_ARGUMENT,
    RefusalReason.INVALID_COMMENT: Kind.INVALID_ARGUMENT,
    RefusalReason.INVALID_HOURS: Kind.INVALID_ARGUMENT,
    RefusalReason.OWN_REQUEST: Kind.PERMISSION_DENIED,
    RefusalReason.NOT_ELIGIBLE: Kind.PERMISSION_DENIED,
    RefusalReason.STEP_UP_NEEDED: Kind.PERMISSION_DENIED,
    RefusalReason.NOT_REQUESTER: Kind.PERMISSION_DENIED,
}
_FIELDS = {
    RefusalReason.INVALID_REASON: "reason",
    RefusalReason.INVALID_COMMENT: "comment",
    RefusalReason.INVALID_HOURS: "hours",
}
_SUMMARIES = {
    EventKind.OPENED: "asks for access to {node}: {reason}",
    EventKind.APPROVAL_GIVEN: "approved at level {level} ({given} of {needed})",
    EventKind.APPROVAL_WITHDRAWN: "took the approval of {approver} at level {level} back: {note}",
    EventKind.LEVEL_COMPLETED: "completed level {level}",
    EventKind.APPROVED: "opened access to {node}",
    EventKind.WINDOW_STARTED: "started the window with a first session",
    EventKind.FAILED: "failed ({end_reason}) {note}",
    EventKind.REJECTED: "denied it {note}",
    EventKind.CANCELLED: "cancelled it",
    EventKind.TIMED_OUT: "timed out: nobody decided in time",
    EventKind.REVOKED: "revoked ({end_reason}) {note}",
    EventKind.RETURNED: "gave the access back",
    EventKind.EXPIRED: "expired ({end_reason})",
}


def refused(refusal: Refusal) -> Refused:
    """The core's no in the gateway's form: what the state of things forbids is FAILED_PRECONDITION."""
    field = _FIELDS.get(refusal.reason)
    return Refused(
        _KINDS.get(refusal.reason, Kind.FAILED_PRECONDITION),
        refusal.reason.value,
        refusal.message,
        refusal.what_to_do,
        fields=(FieldViolation(field, refusal.message),) if field else (),
    )


class Transitions:
    """The one way in which a stored request changes."""

    def __init__(self, changes: Changes, membership_max_age: timedelta) -> None:
        self._changes = changes
        self._membership_max_age = membership_max_age

    def decide(self, request: AccessRequest | None, command: Command, now: datetime) -> Transition | Refusal:
        """What the core says; nothing is written."""
        life = None if request is None else request.life
        return transition(life, command, now, membership_max_age=self._membership_max_age)

    async def change(
        self, tx: Transaction, request: AccessRequest, command: Command, now: datetime
    ) -> AccessRequest | Refusal:
        """The request after the command, written; `request` was locked in `tx`."""
        outcome = self.decide(request, command, now)
        if isinstance(outcome, Refusal):
            return outcome
        if outcome.request == request.life:
            return request
        changed = replace(request, life=outcome.request, revision=request.revision + 1)
        await requests.save(tx.connection, changed)
        if changed.life.status.is_final:
            await tokens.revoke_all(tx.connection, changed.life.id, changed.life.updated_at)
        await self._tell(tx, changed, outcome)
        return changed

    async def open(
        self, tx: Transaction, opened: AccessRequest, outcome: Transition, idempotency_key: str | None
    ) -> None:
        """Writes a new request."""
        await requests.add(tx.connection, opened, idempotency_key)
        await self._tell(tx, opened, outcome)

    async def _tell(self, tx: Transaction, request: AccessRequest, outcome: Transition) -> None:
        await events.append(tx.connection, *(_to_event(request, told) for told in outcome.events))
        tx.after_commit(lambda: self._changes.publish(request.life.id, "requests", "sessions", "outbox"))


def _to_event(request: AccessRequest, told: RequestEvent) -> events.Event:
    details = event_to_json(told)
    words = {"reason": request.life.reason, **told.details, "node": request.node_name}
    did = _SUMMARIES[told.kind].format_map(words).rstrip(" :")
    return events.Event(
        type=f"access_{told.kind.value}",
        at=told.at,
        subject=told.request_id,
        summary=f"{told.actor or 'The gateway'} {did}",
        actor_id=told.actor or "",
        source_address=told.source_address,
        account=request.life.account,
        region=request.life.region,
        details=details,
    )

"""What somebody could do to a request at this moment, so that nobody is offered what would be refused."""

from dataclasses import dataclass
from datetime import datetime

from approvals.commands import Approve, Command, Deny, Revoke, Withdraw
from approvals.model import Status
from approvals.outcomes import Refusal, RefusalReason
from gateway.access import ground
from gateway.access.model import AccessRequest
from gateway.access.transitions import Transitions
from gateway.identity.caller import Caller
from jitgate.v1 import annotations_pb2 as declared


@dataclass(frozen=True, slots=True)
class Possible:
    """`sign_in_again`: deciding needs a fresh sign-in. `why_not`: why an approver can't approve right now."""

    approve: bool = False
    deny: bool = False
    revoke: bool = False
    sign_in_again: bool = False
    why_not: str = ""

    @property
    def waits(self) -> bool:
        """For this person: signing in anew is theirs to do."""
        return self.approve or self.sign_in_again


def possible(transitions: Transitions, caller: Caller, request: AccessRequest, now: datetime) -> Possible:
    """Whether it is still so is asked again when they do it."""
    scope = (request.life.account, request.life.region)
    by = ground.actor_of(caller, *scope)
    is_pending = request.life.status is Status.PENDING

    def refusal(command: Command) -> Refusal | None:
        outcome = transitions.decide(request, command, now)
        return outcome if isinstance(outcome, Refusal) else None

    revoke = refusal(Withdraw(by) if is_pending else Revoke(by)) is None
    if not is_pending or not caller.may(declared.PERMISSION_DECIDE_ACCESS, *scope):
        return Possible(revoke=revoke)
    to_approve, to_deny = refusal(Approve(by)), refusal(Deny(by))
    return Possible(
        approve=to_approve is None,
        deny=to_deny is None,
        revoke=revoke,
        sign_in_again=to_approve is not None and to_approve.reason is RefusalReason.STEP_UP_NEEDED,
        why_not="" if to_approve is None else to_approve.message,
    )

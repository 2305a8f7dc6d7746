"""Who may read a request; for everybody else it is not there."""

from approvals.model import ApprovalPlan, ApproverKind
from gateway.access.model import AccessRequest
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.permissions import allows
from gateway.store.requests import Reader
from jitgate.v1 import annotations_pb2 as declared

# Who may see the sessions of a scope must see what they came from: auditors, node and organization administrators.
READ_OTHERS = declared.PERMISSION_READ_SESSIONS


def reader_of(caller: Caller) -> Reader:
    scopes = {(grant.account, grant.region) for grant in caller.grants if allows(grant, READ_OTHERS)}
    return Reader(caller.user.id, caller.user.groups, tuple(sorted(scopes)))


def sees(caller: Caller, request: AccessRequest) -> bool:
    """The requester, whoever is named at any level, and who may read others' requests in that scope."""
    life = request.life
    return (
        life.requester.user_id == caller.user.id
        or _is_named(caller, request)
        or caller.may(READ_OTHERS, life.account, life.region)
    )


def not_found(request_id: str) -> Refused:
    return Refused(
        Kind.NOT_FOUND,
        "REQUEST_NOT_FOUND",
        f"There is no access request {request_id} that you can see.",
        "Look at your requests: jit requests list",
    )


def _is_named(caller: Caller, request: AccessRequest) -> bool:
    plan = request.life.plan
    if not isinstance(plan, ApprovalPlan):
        return False
    names = {(ApproverKind.USER, caller.user.id)} | {(ApproverKind.GROUP, group) for group in caller.user.groups}
    return any((approver.kind, approver.id) in names for level in plan.levels for approver in level.named)

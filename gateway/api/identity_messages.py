"""People and roles as the contract says them."""

from gateway.errors import invalid
from gateway.identity.model import EVERYWHERE, Role, RoleGrant, User
from jitgate.v1 import identity_pb2

ROLES: dict["identity_pb2.Role.ValueType", Role] = {
    identity_pb2.ROLE_USER: Role.USER,
    identity_pb2.ROLE_APPROVER: Role.APPROVER,
    identity_pb2.ROLE_POLICY_ADMINISTRATOR: Role.POLICY_ADMINISTRATOR,
    identity_pb2.ROLE_NODE_ADMINISTRATOR: Role.NODE_ADMINISTRATOR,
    identity_pb2.ROLE_AUDITOR: Role.AUDITOR,
    identity_pb2.ROLE_ORGANIZATION_ADMINISTRATOR: Role.ORGANIZATION_ADMINISTRATOR,
    identity_pb2.ROLE_INPUT_READER: Role.INPUT_READER,
}
_ROLE_NUMBERS = {role: number for number, role in ROLES.items()}
KINDS: dict["identity_pb2.PolicyKind.ValueType", str] = {
    identity_pb2.POLICY_KIND_DENY: "deny",
    identity_pb2.POLICY_KIND_AUTO: "auto",
    identity_pb2.POLICY_KIND_MANUAL: "manual",
}
_KIND_NUMBERS = {kind: number for number, kind in KINDS.items()}


def identity(user: User, grants: tuple[RoleGrant, ...]) -> identity_pb2.Identity:
    return identity_pb2.Identity(
        user_id=user.id,
        display_name=user.display_name,
        issuer=user.issuer,
        subject=user.subject,
        groups=sorted(user.groups),
        roles=[grant_message(grant) for grant in grants],
    )


def grant_message(grant: RoleGrant) -> identity_pb2.RoleGrant:
    message = identity_pb2.RoleGrant(
        role=_ROLE_NUMBERS[grant.role],
        account=grant.account,
        region=grant.region,
        policy_kinds=[_KIND_NUMBERS[kind] for kind in sorted(grant.policy_kinds)],
    )
    if grant.holder_type == "user":
        message.user_id = grant.holder_id
    else:
        message.group_id = grant.holder_id
    return message


def grant_from(message: identity_pb2.RoleGrant) -> RoleGrant:
    """Raises Refused INVALID_FIELD for a message without holder or role, or with a policy kind that is none.

    Account and Region are "default" where nothing is said, but "*" for an organization administrator: the
    organization has no smaller part.
    """
    holder = message.WhichOneof("holder")
    if holder is None:
        raise invalid("grant.holder", "name a user or a group")
    role = ROLES.get(message.role)
    if role is None:
        raise invalid("grant.role", "is no role")
    if unknown := set(message.policy_kinds) - KINDS.keys():
        raise invalid("grant.policy_kinds", f"{min(unknown)} is no kind of policy")
    place = EVERYWHERE if role is Role.ORGANIZATION_ADMINISTRATOR else "default"
    return RoleGrant(
        holder_type="user" if holder == "user_id" else "group",
        holder_id=message.user_id if holder == "user_id" else message.group_id,
        role=role,
        account=message.account or place,
        region=message.region or place,
        policy_kinds=frozenset(KINDS[kind] for kind in message.policy_kinds),
    )

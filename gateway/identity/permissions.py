"""What a role may do, and where (R32). Who holds no grant may do nothing."""

from collections.abc import Mapping

from gateway.identity.model import EVERYWHERE, Role, RoleGrant
from jitgate.v1 import annotations_pb2 as declared
from jitgate.v1.annotations_pb2 import Permission

_READING = frozenset(
    {
        declared.PERMISSION_READ_POLICIES,
        declared.PERMISSION_READ_NODES,
        declared.PERMISSION_READ_SESSIONS,
        declared.PERMISSION_READ_DIRECTORY,
        declared.PERMISSION_READ_PREFERENCES,
        declared.PERMISSION_READ_EVENTS,
    }
)

PERMISSIONS: Mapping[Role, frozenset["Permission.ValueType"]] = {
    Role.USER: frozenset({declared.PERMISSION_REQUEST_ACCESS, declared.PERMISSION_READ_NODES}),
    Role.APPROVER: frozenset({declared.PERMISSION_DECIDE_ACCESS, declared.PERMISSION_READ_NODES}),
    # Policies name people and groups and target nodes, so their author must be able to look those up.
    Role.POLICY_ADMINISTRATOR: frozenset(
        {
            declared.PERMISSION_READ_POLICIES,
            declared.PERMISSION_WRITE_POLICIES,
            declared.PERMISSION_READ_NODES,
            declared.PERMISSION_READ_DIRECTORY,
        }
    ),
    # LOCK covers nodes only: locking a person needs WRITE_DIRECTORY beside it. Preferences can weaken recording,
    # so a node administrator reads them and leaves the writing to the organization.
    Role.NODE_ADMINISTRATOR: frozenset(
        {
            declared.PERMISSION_READ_NODES,
            declared.PERMISSION_WRITE_NODES,
            declared.PERMISSION_READ_SESSIONS,
            declared.PERMISSION_TERMINATE_SESSIONS,
            declared.PERMISSION_LOCK,
            declared.PERMISSION_READ_PREFERENCES,
            declared.PERMISSION_RETRY_UPLOADS,
        }
    ),
    # Exporting belongs to the auditor's work (evidence leaves the gateway), so it needs no role of its own; it is
    # a permission of its own so that it is checked and told as its own act (R27).
    Role.AUDITOR: _READING | {declared.PERMISSION_READ_RECORDINGS, declared.PERMISSION_EXPORT_RECORDINGS},
    # What was typed can be a password of somebody's. So an auditor sees its content only where this was granted
    # beside the auditor's own role; alone it opens nothing.
    Role.INPUT_READER: frozenset({declared.PERMISSION_READ_INPUT_CONTENT}),
    # Who decides what others may do neither asks, nor decides on requests, nor watches what people did: those need
    # a grant of their own, and granting it, even to oneself, is an event that an auditor sees.
    Role.ORGANIZATION_ADMINISTRATOR: _READING
    | {
        declared.PERMISSION_WRITE_POLICIES,
        declared.PERMISSION_WRITE_NODES,
        declared.PERMISSION_TERMINATE_SESSIONS,
        declared.PERMISSION_WRITE_DIRECTORY,
        declared.PERMISSION_LOCK,
        declared.PERMISSION_WRITE_TARGETS,
        declared.PERMISSION_WRITE_PREFERENCES,
        declared.PERMISSION_WRITE_ALLOWANCES,
        declared.PERMISSION_RETRY_UPLOADS,
        declared.PERMISSION_DELETE_RECORDINGS,
    },
}


def allows(
    grant: RoleGrant,
    permission: "Permission.ValueType",
    account: str | None = None,
    region: str | None = None,
    policy_kind: str | None = None,
) -> bool:
    """Whether `grant` gives `permission` there.

    None asks "anywhere at all" (and "any kind of policy"); "*" asks for all accounts or Regions and is answered by
    a grant of "*" only. The deny policy holds for the whole organization: only a grant of "*" in both writes it.
    """
    if permission not in PERMISSIONS[grant.role]:
        return False
    if account is not None and grant.account not in {EVERYWHERE, account}:
        return False
    if region is not None and grant.region not in {EVERYWHERE, region}:
        return False
    if permission == declared.PERMISSION_WRITE_POLICIES:
        return _writes(grant, policy_kind)
    return True


def _writes(grant: RoleGrant, policy_kind: str | None) -> bool:
    everywhere = grant.account == grant.region == EVERYWHERE
    if policy_kind == "deny" and not everywhere:
        return False
    if grant.role is Role.ORGANIZATION_ADMINISTRATOR:
        return True
    return bool(grant.policy_kinds) if policy_kind is None else policy_kind in grant.policy_kinds

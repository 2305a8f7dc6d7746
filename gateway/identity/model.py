"""People, what they may do, and the caller of the moment (R31, R32)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.errors import Kind, Refused
from jitgate.v1.annotations_pb2 import Permission

LOCAL_ISSUER = "local"


class Role(StrEnum):
    USER = "user"
    APPROVER = "approver"
    POLICY_ADMINISTRATOR = "policy_administrator"
    NODE_ADMINISTRATOR = "node_administrator"
    AUDITOR = "auditor"
    ORGANIZATION_ADMINISTRATOR = "organization_administrator"


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role that a user or a group holds in an account and Region; "*" stands for all of them."""

    holder_type: str  # user | group
    holder_id: str
    role: Role
    account: str = "default"
    region: str = "default"
    policy_kinds: frozenset[str] = frozenset()  # deny | auto | manual, with POLICY_ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class User:
    """A person of the directory, keyed by (issuer, subject), named everywhere by `id`."""

    id: str
    issuer: str
    subject: str
    display_name: str
    groups: frozenset[str]
    attributes: Mapping[str, str]  # employeeNumber, costCenter, organization, division
    created_at: datetime
    membership_checked_at: datetime
    last_sign_in_at: datetime | None = None
    removed_at: datetime | None = None
    locked_at: datetime | None = None
    lock_reason: str = ""
    principal_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_act(self) -> bool:
        return self.removed_at is None and self.locked_at is None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes this call: proven by a client certificate, read afresh from the directory for every call."""

    user: User
    grants: tuple[RoleGrant, ...]  # the user's own and those of the user's groups
    key_hash: str  # SHA-256 of the client key's SubjectPublicKeyInfo, hex; access tokens are bound to it
    source_address: str
    certificate_expires_at: datetime

    def may(
        self,
        permission: "Permission.ValueType",
        account: str | None = None,
        region: str | None = None,
        policy_kind: str | None = None,
    ) -> bool:
        """Whether a grant gives `permission` there. None asks "anywhere at all"; "*" asks for all of them."""
        from gateway.identity.permissions import allows  # the table of roles reads this module

        return any(allows(grant, permission, account, region, policy_kind) for grant in self.grants)

    def require(
        self,
        permission: "Permission.ValueType",
        account: str | None = None,
        region: str | None = None,
        policy_kind: str | None = None,
    ) -> None:
        """Raises Refused PERMISSION_DENIED NOT_PERMITTED unless `may`."""
        if self.may(permission, account, region, policy_kind):
            return
        name = Permission.Name(permission).removeprefix("PERMISSION_").lower()
        where = "" if account is None else f" in account {account}, Region {region}"
        raise Refused(
            Kind.PERMISSION_DENIED,
            "NOT_PERMITTED",
            f"{self.user.id} lacks the permission {name}{where}",
            "Ask an organization administrator for a role that has it: jit roles grant --help",
            metadata={"permission": name},
        )

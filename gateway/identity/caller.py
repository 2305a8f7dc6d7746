"""The caller of the moment (R31, R32)."""

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import Kind, Refused
from gateway.identity.model import EVERYWHERE, RoleGrant, User
from gateway.identity.permissions import allows
from gateway.identity.ports import Actor
from jitgate.v1.annotations_pb2 import Permission


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes this call: proven by a client certificate, read afresh from the directory for every call."""

    user: User
    grants: tuple[RoleGrant, ...]  # the user's own and those of the user's groups
    key_hash: str  # SHA-256 of the client key's SubjectPublicKeyInfo, hex; access tokens are bound to it
    source_address: str
    certificate_expires_at: datetime
    signed_in_at: datetime | None = None  # when the person last proved who they are; None: this way can't tell

    @property
    def actor(self) -> Actor:
        return Actor(self.user.id, self.source_address)

    def may(
        self,
        permission: "Permission.ValueType",
        account: str | None = None,
        region: str | None = None,
        policy_kind: str | None = None,
    ) -> bool:
        """Whether a grant gives `permission` there. None asks "anywhere at all"; "*" asks for all of them."""
        return any(allows(grant, permission, account, region, policy_kind) for grant in self.grants)

    def scopes(self, permission: "Permission.ValueType") -> frozenset[tuple[str, str]]:
        """The accounts and Regions where a grant gives `permission`; "*" stands for all of them."""
        return frozenset((grant.account, grant.region) for grant in self.grants if allows(grant, permission))

    def holds_a_role_in(self, account: str, region: str) -> bool:
        return any(g.account in {EVERYWHERE, account} and g.region in {EVERYWHERE, region} for g in self.grants)

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

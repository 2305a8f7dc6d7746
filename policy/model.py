"""The values that policies are made of, are decided on, and answer with. Nothing here decides anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

ANYWHERE = "*"
"""Account and Region of the deny-access policy: there is one for the whole organization (R1)."""

INSTANCE = "AWS::EC2::Instance"
MANAGED_INSTANCE = "AWS::SSM::ManagedInstance"


class PolicyKind(StrEnum):
    """What a policy is for (R5)."""

    DENY = "deny"
    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the identity provider says about a person (R31). None: nothing, and Cedar's `has` is false."""

    employee_number: str | None = None
    cost_center: str | None = None
    organization: str | None = None
    division: str | None = None

    def for_cedar(self) -> dict[str, str]:
        """The attributes that are known, under the names of the schema."""
        named = {
            "employeeNumber": self.employee_number,
            "costCenter": self.cost_center,
            "organization": self.organization,
            "division": self.division,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a user id, the ids of the groups the user is in, and what else policies may look at."""

    id: str
    groups: frozenset[str] = frozenset()
    attributes: Attributes = Attributes()
    principal_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """The node asked for. Ids are `i-` or `mi-` and 17 hex digits; the prefix is the Cedar type (R3)."""

    node_id: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def entity_type(self) -> str:
        """The Cedar entity type of this node."""
        return MANAGED_INSTANCE if self.node_id.startswith("mi-") else INSTANCE


@dataclass(frozen=True, slots=True)
class CedarDocument:
    """One stored version of a deny-access or auto-approval policy: its Cedar, as its author wrote it.

    `description`: Cedar has no place for it; the form that AWS's documents have does.
    """

    kind: PolicyKind
    account: str
    region: str
    version: int
    text: str
    description: str = ""


class ApproverType(StrEnum):
    """What an approver's id names (R15)."""

    USER = "user"
    GROUP = "group"
    IAM_USER = "iam_user"


@dataclass(frozen=True, slots=True)
class Approver:
    """A person or a group that may approve at a level."""

    type: ApproverType
    id: str


@dataclass(frozen=True, slots=True)
class Level:
    """One of the ordered levels of a manual policy: 1 to 5 approvers, and how many must approve (R15).

    When the level is not complete `escalate_after` it began, those of `escalate_to` may decide as well (R22).
    `sign_in_within`: whoever decides has to have signed in that recently.
    """

    approvers: tuple[Approver, ...]
    approvals_needed: int = 1
    escalate_after: timedelta | None = None
    escalate_to: tuple[Approver, ...] = ()
    sign_in_within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AllNodes:
    """Every node of the policy's account and Region."""


@dataclass(frozen=True, slots=True)
class TagTarget:
    """Nodes with this tag. No values: whatever the value is."""

    key: str
    values: tuple[str, ...] = ()

    def fits(self, tags: Mapping[str, str]) -> bool:
        """Whether a node with these tags is targeted."""
        return self.key in tags and (not self.values or tags[self.key] in self.values)


@dataclass(frozen=True, slots=True)
class TagTargets:
    """Nodes with any one of these tags (R8: OR)."""

    tags: tuple[TagTarget, ...]


Targets = AllNodes | TagTargets


class WindowStart(StrEnum):
    """What the access duration counts from (R21)."""

    APPROVAL = "approval"
    FIRST_SESSION = "first_session"


DEFAULT_PENDING_TIMEOUT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ManualPolicy:
    """One stored version of a manual approval policy (R15).

    `access_hours` is 1 to 336. A request that nobody decided within `pending_timeout` times out (R21).
    `distinct_persons_in_request`: a person who approved at one level counts at no other (R17).
    `remind_every`: how long a level waits until its approvers are told again, and again (R22).
    """

    name: str
    description: str
    version: int
    account: str
    region: str
    access_hours: int
    targets: Targets
    levels: tuple[Level, ...]
    pending_timeout: timedelta = DEFAULT_PENDING_TIMEOUT
    window_starts: WindowStart = WindowStart.APPROVAL
    distinct_persons_in_request: bool = True
    remind_every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AutoApproved:
    """The request is approved at once, for one hour (R7)."""

    version: int
    """Of the auto-approval policy."""
    statements: tuple[str, ...]
    """The statements that grant it: their `@id`, else `statement N`."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """The request waits for the approvers of this policy, in this version (R21: pinned)."""

    policy: ManualPolicy


@dataclass(frozen=True, slots=True)
class Claim:
    """A manual policy and those of the node's tags by which it claims the node."""

    policy: str
    version: int
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two or more manual policies target tags of this node: the request fails (R9)."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class NoPolicy:
    """Nothing lets the request through: it is refused (R11)."""


Outcome = AutoApproved | NeedsApproval | Conflict | NoPolicy

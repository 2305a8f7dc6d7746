"""People and the roles that they hold (R31, R32)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

LOCAL_ISSUER = "local"
EVERYWHERE = "*"  # all accounts, or all Regions

_USER_ID = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_GROUP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def is_user_id(text: str) -> bool:
    return _USER_ID.fullmatch(text) is not None


def is_group_id(text: str) -> bool:
    return _GROUP_ID.fullmatch(text) is not None


class Role(StrEnum):
    USER = "user"
    APPROVER = "approver"
    POLICY_ADMINISTRATOR = "policy_administrator"
    NODE_ADMINISTRATOR = "node_administrator"
    AUDITOR = "auditor"
    INPUT_READER = "input_reader"
    ORGANIZATION_ADMINISTRATOR = "organization_administrator"


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role that a user or a group holds in an account and Region; EVERYWHERE stands for all of them."""

    holder_type: str  # user | group
    holder_id: str
    role: Role
    account: str = "default"
    region: str = "default"
    policy_kinds: frozenset[str] = frozenset()  # deny | auto | manual, with POLICY_ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class User:
    """A person of the directory, keyed by (issuer, subject), named everywhere by `id`.

    `membership_checked_at` is when its source last confirmed the groups; the directory itself is the source of
    local users, so theirs is the moment of reading (R31), as it is of people whom their provider describes by SCIM
    (`provisioned`) while it has a token that works.
    """

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
    locked_by: str = ""  # a user's id, or "scim:PROVIDER"
    lock_reason: str = ""
    principal_tags: Mapping[str, str] = field(default_factory=dict)
    certificates_from: datetime | None = None  # client certificates issued before count no more
    provisioned: bool = False

    @property
    def may_act(self) -> bool:
        return self.removed_at is None and self.locked_at is None

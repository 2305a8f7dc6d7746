"""What of AWS an account may use, what its preferences choose of that, and where one recording goes (R26)."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.errors import invalid

MAXIMUM_RETENTION_DAYS = 36500
_MAXIMUM_CHARACTERS = 640


class AllowanceKind(StrEnum):
    BUCKET = "bucket"
    KEY = "key"
    ROLE = "role"
    LOG_GROUP = "log_group"


_NAMES = {
    AllowanceKind.BUCKET: re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    AllowanceKind.KEY: re.compile(
        r"arn:aws[a-z-]*:kms:([a-z]{2}[a-z0-9-]+):[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]{1,256}"
    ),
    AllowanceKind.ROLE: re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}"),
    AllowanceKind.LOG_GROUP: re.compile(
        r"arn:aws[a-z-]*:logs:[a-z]{2}[a-z0-9-]+:[0-9]{12}:log-group:[A-Za-z0-9._/#-]{1,512}"
    ),
}
_FORMS = {
    AllowanceKind.BUCKET: "the name of a bucket",
    AllowanceKind.KEY: "the ARN of a KMS key or alias",
    AllowanceKind.ROLE: "the ARN of a role",
    AllowanceKind.LOG_GROUP: "the ARN of a log group, without :* at its end",
}
_OWNER = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]{1,30}")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One thing of AWS that the preferences of `account` may name.

    A bucket has an `owner`, the AWS account that it must belong to, and its `aws_region`; a role may have an
    `external_id`. The rest say both in their ARN. Raises Refused INVALID_FIELD for anything else.
    """

    account: str
    kind: AllowanceKind
    name: str
    owner: str = ""
    aws_region: str = ""
    external_id: str = ""
    changed_at: datetime | None = None
    changed_by: str = ""

    def __post_init__(self) -> None:
        if len(self.name) > _MAXIMUM_CHARACTERS or not _NAMES[self.kind].fullmatch(self.name):
            raise invalid("allowance.name", f"must be {_FORMS[self.kind]}")
        is_bucket = self.kind is AllowanceKind.BUCKET
        if is_bucket and not _OWNER.fullmatch(self.owner):
            raise invalid("allowance.owner", "must be the 12 digits of the AWS account that the bucket belongs to")
        if is_bucket and not _REGION.fullmatch(self.aws_region):
            raise invalid("allowance.aws_region", "must be the AWS Region of the bucket, for example eu-central-1")
        if not is_bucket and (self.owner or self.aws_region):
            raise invalid("allowance.owner", "owner and Region are for buckets; an ARN says its own")
        if self.external_id and self.kind is not AllowanceKind.ROLE:
            raise invalid("allowance.external_id", "is for roles")


@dataclass(frozen=True, slots=True)
class Choice:
    """What preferences choose for recordings: names of what is allowed. Empty: as the gateway is configured.

    `key`, `role` and `playback_role` are ARNs. With `retention_mode` (`governance`, `compliance`) each object is
    retained for `retention_days` by Object Lock. Raises Refused INVALID_FIELD for a contradiction.
    """

    bucket: str = ""
    key: str = ""
    role: str = ""
    playback_role: str = ""
    retention_mode: str = ""
    retention_days: int = 0

    def __post_init__(self) -> None:
        field = "preferences.recording_place"
        if (self.bucket or self.key or self.playback_role) and not self.role:
            raise invalid(f"{field}.role", "a bucket or a key is used in a role: name one")
        if bool(self.retention_mode) != bool(self.retention_days):
            raise invalid(f"{field}.retention_days", "mode and days of the retention belong together")
        if not 0 <= self.retention_days <= MAXIMUM_RETENTION_DAYS:
            raise invalid(f"{field}.retention_days", f"must be 0 to {MAXIMUM_RETENTION_DAYS}")
        if self.retention_mode not in {"", "governance", "compliance"}:
            raise invalid(f"{field}.retention_mode", "must be governance or compliance")


OWN = Choice()
"""Everything as the gateway is configured."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one recording is, under whose key, and as whom both are used: fixed when its session begins.

    An empty bucket or key is the gateway's own, as it is configured. `former_keys` are not kept: keys that may
    have wrapped what the alias in `key` wrapped before it pointed elsewhere.
    """

    account: str = ""
    bucket: str = ""
    owner: str = ""
    bucket_region: str = ""
    key: str = ""
    role: str = ""
    external_id: str = ""
    playback_role: str = ""
    playback_external_id: str = ""
    retention_mode: str = ""
    retention_days: int = 0
    former_keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        bucket = f"bucket {self.bucket}" if self.bucket else "the gateway's own store"
        key = f"key {self.key}" if self.key else "the gateway's own key"
        return f"{bucket}, {key}"


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A log group of CloudWatch Logs (`group` is its ARN) and the role that it is written in."""

    account: str
    group: str
    role: str
    external_id: str = ""


def region_of(arn: str) -> str:
    """The AWS Region that an ARN names."""
    return arn.split(":")[3]


def owner_of(arn: str) -> str:
    """The AWS account that an ARN names."""
    return arn.split(":")[4]

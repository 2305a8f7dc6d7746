"""Whether what preferences choose is allowed, asked when they are set and again when it is used; pure."""

from collections.abc import Sequence

from gateway.errors import Kind, Refused, invalid
from gateway.places.model import Allowance, AllowanceKind, Choice, LogPlace, Place, owner_of

_CALLED = {
    AllowanceKind.BUCKET: "bucket",
    AllowanceKind.KEY: "key",
    AllowanceKind.ROLE: "role",
    AllowanceKind.LOG_GROUP: "log group",
}


def place_of(choice: Choice, account: str, allowed: Sequence[Allowance]) -> Place | None:
    """The place of a recording that begins now in `account`; None: everything is the gateway's own.

    `allowed` may hold what other accounts are allowed, which counts for nothing. Raises Refused NOT_ALLOWED.
    """
    if not (choice.bucket or choice.key or choice.retention_mode):
        return None
    bucket = require(AllowanceKind.BUCKET, choice.bucket, account, allowed) if choice.bucket else None
    if choice.key:
        require(AllowanceKind.KEY, choice.key, account, allowed)
    role = require(AllowanceKind.ROLE, choice.role, account, allowed) if choice.role else None
    playback = role
    if choice.playback_role:
        playback = require(AllowanceKind.ROLE, choice.playback_role, account, allowed)
    return Place(
        account=account,
        bucket=choice.bucket,
        owner=bucket.owner if bucket else "",
        bucket_region=bucket.aws_region if bucket else "",
        key=choice.key,
        role=choice.role,
        external_id=role.external_id if role else "",
        playback_role=playback.name if playback else "",
        playback_external_id=playback.external_id if playback else "",
        retention_mode=choice.retention_mode,
        retention_days=choice.retention_days,
    )


def require_bounded_lock(choice: Choice, longest_days: int) -> None:
    """Whether preferences may be set to retain that long. Raises Refused INVALID_FIELD.

    Asked when they are set only: a session that begins under older ones is recorded, with a lock of `longest_days`
    (`Pool`).
    """
    if choice.retention_days > longest_days:
        raise invalid(
            "preferences.recording_place.retention_days",
            f"must be at most {longest_days} days, the longest Object Lock that this gateway allows",
            "Choose fewer: jit preferences set --retention MODE:DAYS. "
            "The gateway's operator says how many: recordings.longest_object_lock_days.",
        )


def log_place_of(group: str, role: str, account: str, allowed: Sequence[Allowance]) -> LogPlace:
    """Where sessions of `account` are logged that begin now. Raises Refused: NOT_ALLOWED, INVALID_FIELD."""
    require(AllowanceKind.LOG_GROUP, group, account, allowed)
    acting = require(AllowanceKind.ROLE, role, account, allowed)
    if owner_of(group) != owner_of(role):
        raise invalid("preferences.log_group", f"is of another AWS account than the role {role}")
    return LogPlace(account, group, role, acting.external_id)


def require(kind: AllowanceKind, name: str, account: str, allowed: Sequence[Allowance]) -> Allowance:
    """The allowance that lets `account` use it. Raises Refused NOT_ALLOWED."""
    for each in allowed:
        if (each.account, each.kind, each.name) == (account, kind, name):
            return each
    raise Refused(
        Kind.PERMISSION_DENIED,
        "NOT_ALLOWED",
        f"The {_CALLED[kind]} {name} is not allowed for account {account}",
        f"Choose from: jit allowances list --account {account}; an organization administrator adds to that.",
        metadata={"kind": kind.value, "name": name, "account": account},
    )

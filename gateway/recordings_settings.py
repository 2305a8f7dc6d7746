"""What an operator says of recordings: where they are kept, and whose key encrypts them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gateway.identity.oidc.settings import is_trustworthy
from recorder.room import Quota


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _endpoint(address: str) -> str:
    if not is_trustworthy(address, insecure_loopback=True):
        raise ValueError("must be an https:// address (http:// on this host only)")
    return address


_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}[a-z0-9-]{1,30}$")]
_RoleArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}$")
]
_ExternalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@:/-]{2,1224}$")]
# A key's id or ARN, or an alias' name or ARN.
_KeyId = Annotated[
    str, StringConstraints(pattern=r"^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?[A-Za-z0-9_/-]{1,256}$")
]

_LogGroup = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:logs:[a-z]{2}[a-z0-9-]+:[0-9]{12}:log-group:[A-Za-z0-9._/#-]{1,512}$"
    ),
]


class S3(_Section):
    """A bucket of S3, or of a store that speaks S3."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}/){0,8}$")
    region: _Region | None = None
    endpoint_url: _Endpoint | None = None
    path_style: bool = False  # <endpoint>/<bucket>, which most stores but AWS's want
    expected_bucket_owner: str | None = Field(default=None, pattern=r"^[0-9]{12}$")
    object_lock_mode: Literal["governance", "compliance"] | None = None
    object_lock_days: int | None = Field(default=None, ge=1, le=36500)
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None  # as the bucket says
    encryption_key_id: _KeyId | None = None
    conditional_put: bool = True
    role_arn: _RoleArn | None = None
    external_id: _ExternalId | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.object_lock_mode is None) != (self.object_lock_days is None):
            raise ValueError("object_lock_mode and object_lock_days belong together; set both or none")
        if self.encryption_key_id is not None and self.encryption in {None, "AES256"}:
            raise ValueError("encryption_key_id needs encryption = aws:kms or aws:kms:dsse")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id needs role_arn")
        if self.endpoint_url is None and not self.conditional_put:
            raise ValueError("conditional_put = false is for stores other than AWS's: it needs endpoint_url")
        return self


class Kms(_Section):
    """A key of AWS KMS that wraps the data keys of recordings."""

    key_id: _KeyId
    former_key_ids: tuple[_KeyId, ...] = Field(default=(), max_length=16)
    region: _Region | None = None
    endpoint_url: _Endpoint | None = None
    role_arn: _RoleArn | None = None
    playback_role_arn: _RoleArn | None = None  # opens data keys; role_arn, unless it is named
    external_id: _ExternalId | None = None
    signing_key_id: _KeyId | None = None  # signs manifests, instead of the gateway's own key
    signing_public_key: Path | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.external_id is not None and self.role_arn is None and self.playback_role_arn is None:
            raise ValueError("external_id needs role_arn or playback_role_arn")
        if len({self.key_id, *self.former_key_ids}) != 1 + len(self.former_key_ids):
            raise ValueError("key_id and former_key_ids name a key twice")
        if (self.signing_key_id is None) != (self.signing_public_key is None):
            raise ValueError("signing_key_id and signing_public_key belong together; set both or none")
        return self


class SessionLog(_Section):
    """Where sessions are logged as JSON lines whose preferences want that and name no log group."""

    target: Literal["none", "stdout", "file", "cloudwatch"] = "none"
    file: Path | None = None
    log_group: _LogGroup | None = None
    endpoint_url: _Endpoint | None = None
    role_arn: _RoleArn | None = None
    external_id: _ExternalId | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.target == "file") != (self.file is not None):
            raise ValueError("file and target = file belong together")
        if (self.target == "cloudwatch") != (self.log_group is not None):
            raise ValueError("log_group (an ARN) and target = cloudwatch belong together")
        if self.target != "cloudwatch" and (self.endpoint_url or self.role_arn):
            raise ValueError("endpoint_url and role_arn are for target = cloudwatch")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id needs role_arn")
        return self


class Recordings(_Section):
    """Where recordings go, how soon they are on disk, and whose key encrypts them."""

    # Whose recordings they are: the keys of each are bound to it.
    organization: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    store: Literal["local", "s3"] = "local"
    directory: Path | None = None  # <data_dir>/recordings
    s3: S3 | None = None
    key_provider: Literal["local", "aws_kms"] = "local"
    kms: Kms | None = None
    spool: Path | None = None  # <data_dir>/spool
    spool_quota_mib: int | None = Field(default=None, ge=16, le=1 << 30)  # half of its disk
    spool_min_free_mib: int = Field(default=256, ge=0, le=1 << 30)
    # How long a session waits for room in a spool that is nearly full, before it ends.
    spool_patience_seconds: int = Field(default=300, ge=0, le=86400)
    # Complete recordings whose session ended longer ago are deleted; None: never. At least a year, as of requests.
    retention_days: int | None = Field(default=None, ge=365, le=36500)
    # The longest Object Lock that preferences may choose. Nobody takes one of COMPLIANCE back before its time.
    longest_object_lock_days: int = Field(default=3650, ge=1, le=36500)
    durability: Literal["process", "sync", "store"] = "process"

    @property
    def quota(self) -> Quota:
        """What the spool may take."""
        size = None if self.spool_quota_mib is None else self.spool_quota_mib << 20
        return Quota(size, self.spool_min_free_mib << 20, self.spool_patience_seconds)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.store == "s3" and self.s3 is None:
            raise ValueError("store = s3 needs a section recordings.s3")
        if self.store != "s3" and self.s3 is not None:
            raise ValueError("there is a section recordings.s3, and store is not s3")
        if self.store == "s3" and self.directory is not None:
            raise ValueError("directory is for store = local; with s3 it would stay empty")
        if self.key_provider == "aws_kms" and self.kms is None:
            raise ValueError("key_provider = aws_kms needs a section recordings.kms")
        if self.key_provider != "aws_kms" and self.kms is not None:
            raise ValueError("there is a section recordings.kms, and key_provider is not aws_kms")
        return self

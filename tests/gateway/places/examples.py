"""An account's bucket, key and roles."""

from gateway.places.model import Allowance, AllowanceKind, Choice
from tests.aws.servers import ACCOUNT as OWNER
from tests.aws.servers import REGION

BUCKET = "shop-recordings"
KEY = f"arn:aws:kms:{REGION}:{OWNER}:alias/shop-recordings"
WRITER = f"arn:aws:iam::{OWNER}:role/shop-writer"
PLAYBACK = f"arn:aws:iam::{OWNER}:role/shop-playback"
GROUP = f"arn:aws:logs:{REGION}:{OWNER}:log-group:/jitgate/shop"

ALLOWED = (
    Allowance("shop", AllowanceKind.BUCKET, BUCKET, owner=OWNER, aws_region=REGION),
    Allowance("shop", AllowanceKind.KEY, KEY),
    Allowance("shop", AllowanceKind.ROLE, PLAYBACK),
    Allowance("shop", AllowanceKind.ROLE, WRITER, external_id="from-jitgate"),
)
CHOICE = Choice(
    bucket=BUCKET,
    key=KEY,
    role=WRITER,
    playback_role=PLAYBACK,
    retention_mode="governance",
    retention_days=30,
)

__all__ = ["ALLOWED", "BUCKET", "CHOICE", "GROUP", "KEY", "OWNER", "PLAYBACK", "WRITER"]

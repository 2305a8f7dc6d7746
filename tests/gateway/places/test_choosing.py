"""What preferences choose is taken from what the account is allowed, and from nothing else."""

import dataclasses
from typing import Any

import pytest

from gateway.errors import Kind, Refused
from gateway.places.choosing import place_of, require
from gateway.places.model import OWN, Allowance, AllowanceKind, Choice, Place
from tests.gateway.places.examples import ALLOWED, BUCKET, CHOICE, KEY, OWNER, PLAYBACK, WRITER

pytestmark = pytest.mark.rule("R26")


def test_what_is_allowed_becomes_a_place_with_owner_region_and_external_id() -> None:
    assert place_of(CHOICE, "shop", ALLOWED) == Place(
        account="shop",
        bucket=BUCKET,
        owner=OWNER,
        bucket_region="us-east-1",
        key=KEY,
        role=WRITER,
        external_id="from-jitgate",
        playback_role=PLAYBACK,
        playback_external_id="",
        retention_mode="governance",
        retention_days=30,
    )


def test_without_a_choice_everything_is_the_gateways_own() -> None:
    assert place_of(OWN, "shop", []) is None
    assert place_of(Choice(role=WRITER), "shop", ALLOWED) is None  # for a log group alone


def test_playback_acts_in_the_writers_role_unless_another_is_named() -> None:
    place = place_of(dataclasses.replace(CHOICE, playback_role=""), "shop", ALLOWED)
    assert place is not None
    assert (place.playback_role, place.playback_external_id) == (WRITER, "from-jitgate")


@pytest.mark.parametrize("kind", [AllowanceKind.BUCKET, AllowanceKind.KEY, AllowanceKind.ROLE])
def test_each_part_is_refused_by_name_when_it_is_not_allowed(kind: AllowanceKind) -> None:
    left = [each for each in ALLOWED if each.kind is not kind]
    with pytest.raises(Refused) as caught:
        place_of(CHOICE, "shop", left)
    refused = caught.value
    assert (refused.kind, refused.reason) == (Kind.PERMISSION_DENIED, "NOT_ALLOWED")
    assert refused.metadata["kind"] == kind.value
    assert refused.metadata["name"] in refused.message
    assert "jit allowances list --account shop" in refused.what_to_do


def test_a_playback_role_must_be_allowed_too() -> None:
    with pytest.raises(Refused, match=PLAYBACK):
        place_of(CHOICE, "shop", [each for each in ALLOWED if each.name != PLAYBACK])


def test_what_another_account_is_allowed_counts_for_nothing() -> None:
    with pytest.raises(Refused, match="not allowed for account bank"):
        place_of(CHOICE, "bank", ALLOWED)


def test_a_name_that_is_allowed_as_something_else_counts_for_nothing() -> None:
    with pytest.raises(Refused, match="log group"):
        require(AllowanceKind.LOG_GROUP, KEY, "shop", ALLOWED)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"bucket": BUCKET}, "role"),
        ({"key": KEY}, "role"),
        ({"playback_role": PLAYBACK}, "role"),
        ({"retention_mode": "governance"}, "retention_days"),
        ({"retention_days": 3}, "retention_days"),
        ({"retention_mode": "governance", "retention_days": -1}, "retention_days"),
        ({"retention_mode": "governance", "retention_days": 36501}, "retention_days"),
        ({"retention_mode": "forever", "retention_days": 1}, "retention_mode"),
    ],
)
def test_contradictions_are_refused_by_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as caught:
        Choice(**values)
    assert caught.value.fields[0].field == f"preferences.recording_place.{field}"


@pytest.mark.parametrize(
    ("kind", "name", "more", "field"),
    [
        (AllowanceKind.BUCKET, "Bucket", {"owner": OWNER, "aws_region": "us-east-1"}, "name"),
        (AllowanceKind.BUCKET, "a/../b", {"owner": OWNER, "aws_region": "us-east-1"}, "name"),
        (AllowanceKind.BUCKET, BUCKET, {"aws_region": "us-east-1"}, "owner"),
        (AllowanceKind.BUCKET, BUCKET, {"owner": OWNER}, "aws_region"),
        (AllowanceKind.BUCKET, BUCKET, {"owner": OWNER, "aws_region": "us-east-1.evil.example/"}, "aws_region"),
        (AllowanceKind.KEY, "alias/recordings", {}, "name"),
        (AllowanceKind.KEY, KEY.replace("us-east-1", "us-east-1.evil"), {}, "name"),
        (AllowanceKind.KEY, KEY, {"owner": OWNER}, "owner"),
        (AllowanceKind.KEY, KEY, {"external_id": "x1"}, "external_id"),
        (AllowanceKind.ROLE, f"arn:aws:iam::{OWNER}:user/alice", {}, "name"),
        (AllowanceKind.ROLE, WRITER + "\n", {}, "name"),
        (AllowanceKind.LOG_GROUP, f"arn:aws:logs:us-east-1:{OWNER}:log-group:a:*", {}, "name"),
    ],
)
def test_what_aws_has_no_name_for_is_not_allowed(
    kind: AllowanceKind, name: str, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refused) as caught:
        Allowance("shop", kind, name, **more)
    assert caught.value.fields[0].field == f"allowance.{field}"

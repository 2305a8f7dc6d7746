"""What S3 is told and what its answers come to; the failures are a stand-in's, before moto or rclone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from recorder.errors import ObjectConflict, ObjectMissing, StoreUnavailable, UnfitStore
from recorder.object_stores.s3 import AT_ONCE, Bucket, S3Store
from recorder.ports import Receipt
from tests.aws.making import BRIEF, ONCE, TWICE, new_bucket, new_store, s3_client
from tests.aws.servers import ENVIRONMENT, Rclone
from tests.aws.trouble import Answer, Call, Hang, Reset, Troubled, none, s3_error

pytestmark = pytest.mark.usefixtures("aws_environment")
DATA = bytes(range(256)) * 100
Ask = Callable[[], Answer]


async def put(store: S3Store, name: str = "a/b.seg", data: bytes = DATA) -> Receipt:
    return await store.put_if_absent(name, data, hashlib.sha256(data).hexdigest())


def on_puts(name: str, trouble: Callable[[Call, Ask], Answer]) -> Callable[[Call, Ask], Answer]:
    def sorted_out(call: Call, ask: Ask) -> Answer:
        return trouble(call, ask) if call.method == "PUT" and call.path.endswith(name) else ask()

    return sorted_out


def answering(answer: Answer) -> Callable[[Call, Ask], Answer]:
    return lambda _call, _ask: answer


def raising(failure: type[Exception]) -> Callable[[Call, Ask], Answer]:
    def trouble(_call: Call, _ask: Ask) -> Answer:
        raise failure

    return trouble


def with_checksums_checked(call: Call, ask: Ask) -> Answer:
    """What S3 does and moto does not: compare what came with its checksum."""
    if call.method == "PUT" and call.path.endswith("/checksum"):
        return s3_error(400, "BadDigest")
    return ask()


async def test_every_call_names_the_bucket_s_owner(troubled_moto: Troubled) -> None:
    async with new_store(troubled_moto.url, expected_owner="111122223333") as store:
        troubled_moto.calls.clear()
        await put(store)
        await put(store)
        await store.get("a/b.seg")
        await store.get_range("a/b.seg", 1, 2)
        assert [each.name async for each in store.list("a")] == ["a/b.seg"]
        await store.delete("a/b.seg")
    assert {call.method for call in troubled_moto.calls} == {"PUT", "GET", "DELETE"}
    assert {call.headers.get("x-amz-expected-bucket-owner") for call in troubled_moto.calls} == {"111122223333"}


async def test_each_put_says_how_the_object_is_kept(troubled_moto: Troubled) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with s3_client(troubled_moto.url) as client:
        name = await new_bucket(client, ObjectLockEnabledForBucket=True)
        bucket = Bucket(
            name,
            prefix="team/",
            lock_mode="COMPLIANCE",
            lock_days=30,
            encryption="aws:kms",
            encryption_key_id="alias/bucket",
        )
        await put(S3Store(client, bucket, clock=lambda: now))
        sent = next(call for call in troubled_moto.calls if call.path == f"/{name}/team/a/b.seg")
        assert sent.headers["if-none-match"] == "*"
        assert sent.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert sent.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/bucket"
        assert sent.headers["x-amz-server-side-encryption-bucket-key-enabled"].lower() == "true"
        kept = await client.call("head_object", Bucket=name, Key="team/a/b.seg", ChecksumMode="ENABLED")
        assert kept["ObjectLockMode"] == "COMPLIANCE"
        assert kept["ObjectLockRetainUntilDate"] == now + timedelta(days=30)
        assert kept["ServerSideEncryption"] == "aws:kms"


async def test_what_a_bucket_s_own_versions_hide_is_not_listed_nor_got(moto: str) -> None:
    async with s3_client(moto) as client:
        name = await new_bucket(client)
        versions = {"Status": "Enabled"}
        await client.call("put_bucket_versioning", Bucket=name, VersioningConfiguration=versions)
        store = S3Store(client, Bucket(name))
        await put(store)
        await store.delete("a/b.seg")
        assert [each async for each in store.list("")] == []
        with pytest.raises(ObjectMissing):
            await store.get("a/b.seg")
        assert (await put(store, data=b"new")).created


async def test_a_deleted_object_leaves_no_version_behind(moto: str) -> None:
    async with s3_client(moto) as client:
        name = await new_bucket(client)
        versions = {"Status": "Enabled"}
        await client.call("put_bucket_versioning", Bucket=name, VersioningConfiguration=versions)
        store = S3Store(client, Bucket(name))
        for other in ("a/b.seg", "a/b.segment"):
            await put(store, other)
        await client.call("delete_object", Bucket=name, Key="a/b.seg")  # as another program does it
        await store.delete("a/b.seg")
        left = await client.call("list_object_versions", Bucket=name, Prefix="a/")
        assert [each["Key"] for each in left["Versions"]] == ["a/b.segment"]
        assert "DeleteMarkers" not in left


async def test_what_was_stored_before_there_were_versions_goes_as_well(moto: str) -> None:
    async with s3_client(moto) as client:
        name = await new_bucket(client)
        store = S3Store(client, Bucket(name))
        await put(store)
        versions = {"Status": "Enabled"}
        await client.call("put_bucket_versioning", Bucket=name, VersioningConfiguration=versions)
        await store.delete("a/b.seg")
        left = await client.call("list_object_versions", Bucket=name, Prefix="a/")
        assert "Versions" not in left
        assert "DeleteMarkers" not in left


async def test_what_object_lock_retains_stays_and_says_why(moto: str) -> None:
    async with s3_client(moto) as client:
        bucket = Bucket(
            await new_bucket(client, ObjectLockEnabledForBucket=True), lock_mode="COMPLIANCE", lock_days=30
        )
        store = S3Store(client, bucket)
        await put(store)
        with pytest.raises(StoreUnavailable, match="AccessDenied"):
            await store.delete("a/b.seg")
        assert await store.get("a/b.seg") == DATA


async def test_a_listing_has_any_number_of_pages(troubled_moto: Troubled) -> None:
    def paged(call: Call, ask: Ask) -> Answer:
        if "list-type=2" in call.path:
            call.path += "&max-keys=2"
        return ask()

    async with new_store(troubled_moto.url) as store:
        for number in range(5):
            await put(store, f"n/{number}", b"x")
        troubled_moto.trouble = paged
        troubled_moto.calls.clear()
        assert [each.name async for each in store.list("n/")] == [f"n/{number}" for number in range(5)]
        assert len(troubled_moto.calls) == 3


async def test_a_store_that_sends_everything_for_a_range(troubled_moto: Troubled) -> None:
    def deaf(call: Call, ask: Ask) -> Answer:
        call.headers.pop("range", None)
        return ask()

    async with new_store(troubled_moto.url) as store:
        await put(store, data=b"0123456789")
        troubled_moto.trouble = deaf
        assert await store.get_range("a/b.seg", 2, 3) == b"234"
        assert await store.get_range("a/b.seg", 20, 3) == b""


async def test_retention_that_the_bucket_cannot_give_is_refused_before_anything_is_put(moto: str) -> None:
    async with new_store(moto) as plain:
        retaining = plain.retaining("GOVERNANCE", 1)
        for attempt in (retaining.examine(), put(retaining)):
            with pytest.raises(UnfitStore, match=f"put-object-lock-configuration.*{plain.bucket.name}"):
                await attempt
        assert [each async for each in plain.list("")] == []
        await put(plain)
    async with s3_client(moto) as client:
        able = S3Store(client, Bucket(await new_bucket(client, ObjectLockEnabledForBucket=True)))
        await able.retaining("GOVERNANCE", 1).examine()
        await put(able)
        await put(able.retaining("GOVERNANCE", 1), "a/c.seg")
        kept = [
            (await client.call("head_object", Bucket=able.bucket.name, Key=name)).get("ObjectLockMode")
            for name in ("a/b.seg", "a/c.seg")
        ]
    assert kept == [None, "GOVERNANCE"]


async def test_who_may_not_look_at_object_lock_is_told_so(troubled_moto: Troubled) -> None:
    def closed(call: Call, ask: Ask) -> Answer:
        return s3_error(403, "AccessDenied") if "object-lock" in call.path else ask()

    async with new_store(troubled_moto.url, lock_mode="COMPLIANCE", lock_days=1) as store:
        troubled_moto.trouble = closed
        with pytest.raises(StoreUnavailable, match="Object Lock: not allowed"):
            await put(store)


async def test_a_store_that_replaces_objects_is_refused_and_nothing_is_put(rclone: Rclone) -> None:
    async with new_store(rclone.address) as store:
        for _ in range(2):
            with pytest.raises(UnfitStore, match="conditional_put"):
                await put(store)
            with pytest.raises(UnfitStore):
                await store.examine()
        found = {path.name for path in (rclone.folder / store.bucket.name).rglob("*") if path.is_file()}
        assert found == {"conditional"}


async def test_bytes_are_on_disk_as_they_were_sent_and_signatures_are_checked(
    rclone: Rclone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with new_store(rclone.address, conditional_put=False) as store:
        await put(store)
        assert (rclone.folder / store.bucket.name / "a" / "b.seg").read_bytes() == DATA
        bucket = store.bucket
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ENVIRONMENT["AWS_SECRET_ACCESS_KEY"][::-1])
    async with s3_client(rclone.address, TWICE) as client:
        with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
            await S3Store(client, bucket).get("a/b.seg")


async def test_a_store_that_checks_checksums_is_believed_any_other_is_read_again(
    troubled_moto: Troubled,
) -> None:
    async with new_store(troubled_moto.url) as store:
        await put(store)
        assert reads(troubled_moto) == 1
    troubled_moto.trouble = with_checksums_checked
    troubled_moto.calls.clear()
    async with new_store(troubled_moto.url) as store:
        await put(store)
        assert reads(troubled_moto) == 0


def reads(proxy: Troubled) -> int:
    return sum(call.method == "GET" for call in proxy.calls)


@pytest.mark.parametrize("checked", [True, False])
async def test_a_receipt_with_another_checksum_is_not_believed_but_the_object_is(
    troubled_moto: Troubled, *, checked: bool
) -> None:
    def lying(call: Call, ask: Ask) -> Answer:
        answer = with_checksums_checked(call, ask) if checked else ask()
        if call.method == "PUT" and "x-amz-checksum-sha256" in answer.headers:
            answer.headers["x-amz-checksum-sha256"] = "AAAA"
        return answer

    troubled_moto.trouble = lying
    async with new_store(troubled_moto.url) as store:
        assert (await put(store)).created
        assert reads(troubled_moto) == 1


async def test_an_object_that_was_damaged_on_its_way_is_never_a_success(troubled_moto: Troubled) -> None:
    def damaging(call: Call, ask: Ask) -> Answer:
        call.body = b"\xff" + call.body[1:]
        return ask()

    async with new_store(troubled_moto.url) as store:
        await store.examine()
        troubled_moto.trouble = on_puts("b.seg", damaging)
        with pytest.raises(StoreUnavailable, match="reads otherwise"):
            await put(store)
        troubled_moto.trouble = none
        with pytest.raises(ObjectConflict):
            await put(store)


REFUSALS = [
    (503, "SlowDown", "throttling"),
    (500, "InternalError", "InternalError"),
    (403, "AccessDenied", "expected_bucket_owner"),
    (404, "NoSuchBucket", "no such bucket"),
    (400, "BadDigest", "BadDigest"),
    (400, "InvalidRequest", "Object Lock"),
    (507, "InsufficientStorage", "InsufficientStorage"),
]


@pytest.mark.parametrize(("status", "code", "told"), REFUSALS)
async def test_a_refusal_waits_for_a_later_try(troubled_moto: Troubled, status: int, code: str, told: str) -> None:
    async with new_store(troubled_moto.url, ONCE) as store:
        troubled_moto.trouble = answering(s3_error(status, code))
        for attempt in (lambda: put(store), store.examine, lambda: store.get("a/b.seg")):
            with pytest.raises(StoreUnavailable, match=told):
                await attempt()
        troubled_moto.trouble = none
        assert (await put(store)).created


@pytest.mark.parametrize(
    ("failure", "silence", "total"), [(Hang, 0.3, 30), (Hang, 30, 1), (Reset, 1, 30)], ids=str
)
async def test_silence_ends_with_the_budget(
    troubled_moto: Troubled, failure: type[Exception], silence: float, total: float
) -> None:
    patience = replace(BRIEF, silence_seconds=silence, total_seconds=total)
    async with new_store(troubled_moto.url) as store, s3_client(troubled_moto.url, patience) as hurried:
        await store.examine()
        hasty = S3Store(hurried, store.bucket)
        hasty._checks_checksums = False  # as was found out just now, without hurry
        troubled_moto.trouble = on_puts("b.seg", raising(failure))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await put(hasty)
        assert time.monotonic() - began < 10
        troubled_moto.trouble = none
        assert (await put(store)).created


async def test_an_answer_that_was_lost_is_no_conflict(troubled_moto: Troubled) -> None:
    left = [1]

    def lost(call: Call, ask: Ask) -> Answer:
        answer = ask()
        if left:
            left.pop()
            raise Reset
        return answer

    async with new_store(troubled_moto.url, TWICE) as store:
        await store.examine()
        troubled_moto.trouble = on_puts("b.seg", lost)
        # botocore tries again by itself and finds its own object there.
        assert not (await put(store)).created


async def test_a_body_that_breaks_off_is_asked_for_again(troubled_moto: Troubled) -> None:
    left = [2]

    def cut(call: Call, ask: Ask) -> Answer:
        answer = ask()
        if call.method == "GET" and left[0]:
            left[0] -= 1
            answer.headers["Content-Length"] = str(len(answer.body))
            answer.body = answer.body[:100]
        return answer

    async with new_store(troubled_moto.url) as store:
        await put(store)
        troubled_moto.trouble = cut
        assert await store.get("a/b.seg") == DATA
        assert left == [0]
        left[0] = 100
        with pytest.raises(StoreUnavailable):
            await store.get("a/b.seg")


async def test_a_race_that_s3_cannot_decide_is_tried_again(troubled_moto: Troubled) -> None:
    left = [1]

    def undecided(call: Call, ask: Ask) -> Answer:
        if left:
            left.pop()
            return s3_error(409, "ConditionalRequestConflict")
        return ask()

    async with new_store(troubled_moto.url) as store:
        await store.examine()
        troubled_moto.trouble = on_puts("b.seg", undecided)
        assert (await put(store)).created


async def test_only_so_many_objects_are_on_their_way_at_once(troubled_moto: Troubled) -> None:
    now, most = 0, 0

    def counted(call: Call, ask: Ask) -> Answer:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return ask()
        finally:
            now -= 1

    # The client would take more.
    async with s3_client(troubled_moto.url, connections=50) as client:
        store = S3Store(client, Bucket(await new_bucket(client)))
        await store.examine()
        troubled_moto.trouble = counted
        await asyncio.gather(*(put(store, f"n/{number}") for number in range(3 * AT_ONCE)))
        assert 1 < most <= AT_ONCE


async def test_names_reach_the_store_unchanged(troubled_moto: Troubled) -> None:
    name = "a-b_c.d/2026/03/01/s-0123456789abcdef0123/0001-000000.seg"
    async with new_store(troubled_moto.url, prefix="p.1/q_2/") as store:
        await put(store, name)
        assert any(unquote(call.path).endswith(f"/p.1/q_2/{name}") for call in troubled_moto.calls)
        assert [each.name async for each in store.list("")] == [name]


async def test_nothing_of_another_prefix_is_seen(moto: str) -> None:
    async with s3_client(moto) as client:
        bucket = Bucket(await new_bucket(client), prefix="one/")
        other: dict[str, Any] = {"prefix": "one-more/"}
        await put(S3Store(client, replace(bucket, **other)))
        assert [each async for each in S3Store(client, bucket).list("")] == []

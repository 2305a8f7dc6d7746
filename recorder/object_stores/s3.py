"""Objects in an S3 bucket, or in a store that speaks S3.

A put is conditional on the name being free (If-None-Match) and carries the SHA-256 of its bytes. Whether the
store honours both is tried out before the first put: one that would replace objects is refused, and where a store
does not check checksums itself, what was put is read again.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

from recorder.aws import Client, NoAnswer, Patience, SaidNo
from recorder.errors import (
    ChecksumMismatch,
    ObjectConflict,
    ObjectMissing,
    StoreUnavailable,
    StoreUnreachable,
    UnfitStore,
)
from recorder.object_names import check_name, check_prefix, is_name
from recorder.ports import Clock, ObjectInfo, Receipt

PATIENCE: Final = Patience(connect_seconds=5, silence_seconds=20, total_seconds=120)
"""Enough for 8 MiB over a slow line; nobody waits for it, and the next try comes from the recorder."""

AT_ONCE: Final = 8
"""Objects on their way at a time, each way together: at most so many times 8 MiB are held for it."""

CLIENT_OPTIONS: Final = {
    "signature_version": "s3v4",
    # We send the checksum that counts ourselves; stores other than AWS's stumble over those of botocore.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}

# No name of an object begins with a dot, so these meet none.
_PROBE: Final = ".jitgate-probe/conditional"
_CHECKSUM_PROBE: Final = ".jitgate-probe/checksum"
_PROBE_DATA: Final = b"Jitgate tries out whether this store replaces objects.\n"
_TAKEN: Final = frozenset({"PreconditionFailed", "412"})
_UNLOCKED: Final = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"})
_VERSIONLESS: Final = frozenset({"NotImplemented", "MethodNotAllowed"})
_MISSING: Final = frozenset({"NoSuchKey", "404"})
_ADVICE: Final = {
    "NoSuchBucket": "there is no such bucket; look at its name and Region",
    "AccessDenied": "not allowed; look at the bucket's policy, the role's, and expected_bucket_owner",
    "InvalidRequest": "the bucket does not take this; look at its Object Lock and encryption",
    "SlowDown": "the store is throttling",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects go and how they are kept. `prefix` is empty or ends in a slash.

    `lock_mode` is `GOVERNANCE` or `COMPLIANCE`: each object is then retained for `lock_days`. `encryption` is
    `AES256`, `aws:kms` or `aws:kms:dsse`; None leaves it to the bucket. Without `conditional_put` this process
    looks before it puts, which is only safe where no other writes to the bucket.
    """

    name: str
    prefix: str = ""
    expected_owner: str | None = None
    lock_mode: str | None = None
    lock_days: int = 0
    encryption: str | None = None
    encryption_key_id: str | None = None
    conditional_put: bool = True


def utc_now() -> datetime:
    return datetime.now(UTC)


class S3Store:
    """An object store in `bucket`. Any number of processes may share it."""

    def __init__(self, client: Client, bucket: Bucket, *, clock: Clock = utc_now) -> None:
        self.bucket = bucket
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._examining = asyncio.Lock()
        self._checks_checksums: bool | None = None
        self._alone: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        where = {"Bucket": bucket.name}
        if bucket.expected_owner is not None:
            where["ExpectedBucketOwner"] = bucket.expected_owner
        self._where = where

    async def examine(self) -> None:
        """Find out how the store behaves now, as the first put does by itself.

        Leaves one small object in the bucket (two where it does not check checksums). Raises UnfitStore where a
        put would replace what is there or retention would have no effect, StoreUnavailable.
        """
        if self.bucket.lock_mode is not None:
            await self._require_object_lock()
        if self.bucket.conditional_put:
            self._checks_checksums = await self._probe()
        else:
            self._checks_checksums = False
            async for _ in self.list(""):
                break

    def retaining(self, mode: str, days: int) -> S3Store:
        """The same bucket by the same client, with another retention (`GOVERNANCE`, `COMPLIANCE`)."""
        bucket = dataclasses.replace(self.bucket, lock_mode=mode, lock_days=days)
        return S3Store(self._client, bucket, clock=self._clock)

    async def _require_object_lock(self) -> None:
        try:
            answer = await self._request("get_object_lock_configuration")
        except SaidNo as refusal:
            if refusal.code not in _UNLOCKED:
                raise self._failed("its Object Lock", refusal) from None
            answer = {}
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise UnfitStore(
                f"{self} has no Object Lock, so nothing in it can be retained. Turn it on (aws s3api "
                "put-bucket-versioning --versioning-configuration Status=Enabled, then "
                "put-object-lock-configuration --object-lock-configuration ObjectLockEnabled=Enabled, each with "
                f"--bucket {self.bucket.name}), or name no retention"
            )

    async def _is_checking(self) -> bool:
        async with self._examining:
            if self._checks_checksums is None:
                await self.examine()
            return bool(self._checks_checksums)

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        check_name(name)
        digest = await asyncio.to_thread(_digest, data)
        if digest.hex() != sha256:
            raise ChecksumMismatch(f"what was to become {name} is not what its checksum says")
        checked = await self._is_checking()
        async with self._slots:
            if self.bucket.conditional_put:
                created = await self._put(name, data, digest, checked=checked)
            else:
                async with self._alone.setdefault(name, asyncio.Lock()):
                    created = await self._look_and_put(name, data, digest)
        return Receipt(name, len(data), sha256, created)

    async def get(self, name: str) -> bytes:
        check_name(name)
        async with self._slots:
            return await self._get(name)

    async def get_range(self, name: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ValueError("a range starts at 0 or later and has no negative length")
        check_name(name)
        asked = f"bytes={start}-{start + max(length, 1) - 1}"
        async with self._slots:
            try:
                answer = await self._call("get_object", name, Range=asked)
            except SaidNo as refusal:
                if refusal.code in {"InvalidRange", "416"}:
                    return b""
                raise self._failed(name, refusal) from None
        body: bytes = answer["Body"]
        if not answer.get("ContentRange"):  # some stores send everything
            body = body[start:]
        return body[:length]

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        wanted: dict[str, Any] = {"Prefix": self.bucket.prefix + check_prefix(prefix)}
        while True:
            try:
                page = await self._request("list_objects_v2", **wanted)
            except SaidNo as refusal:
                raise self._failed(prefix, refusal) from None
            for found in page.get("Contents", ()):
                name = found["Key"].removeprefix(self.bucket.prefix)
                if is_name(name):
                    yield ObjectInfo(name, found["Size"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    async def delete(self, name: str) -> None:
        """Every version of it, so that no bytes stay. What Object Lock still retains is StoreUnavailable."""
        try:
            for version in await self._versions(name):
                await self._call("delete_object", name, VersionId=version)
            # Some stores take the name of a folder, too, and remove all that is in it.
            await self.get_range(name, 0, 0)
            await self._call("delete_object", name)
        except ObjectMissing:
            return
        except SaidNo as refusal:
            raise self._failed(name, refusal) from None

    async def _versions(self, name: str) -> builtins.list[str]:
        """Of the object and its delete markers; none in a store without versions.

        What was stored before a bucket had versions is its version "null".
        """
        key = self.bucket.prefix + check_name(name)
        wanted: dict[str, Any] = {"Prefix": key}
        found: builtins.list[str] = []
        while True:
            try:
                page = await self._request("list_object_versions", **wanted)
            except SaidNo as refusal:
                if refusal.code in _VERSIONLESS:
                    return []
                raise
            each = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            found += [one["VersionId"] for one in each if one["Key"] == key and one.get("VersionId")]
            if not page.get("IsTruncated"):
                return found
            wanted["KeyMarker"] = page["NextKeyMarker"]
            wanted["VersionIdMarker"] = page["NextVersionIdMarker"]

    async def _put(self, name: str, data: bytes, digest: bytes, *, checked: bool) -> bool:
        """Whether the object is new; False: an identical one was there."""
        try:
            answer = await self._call("put_object", name, IfNoneMatch="*", **self._object(data, digest))
        except SaidNo as refusal:
            if refusal.code not in _TAKEN:
                raise self._failed(name, refusal) from None
            return await self._compare(name, digest)
        if not checked or answer.get("ChecksumSHA256") != _checksum(digest)["ChecksumSHA256"]:
            await self._read_again(name, digest)
        return True

    async def _look_and_put(self, name: str, data: bytes, digest: bytes) -> bool:
        try:
            return await self._compare(name, digest)
        except ObjectMissing:
            pass
        try:
            await self._call("put_object", name, **self._object(data, digest))
        except SaidNo as refusal:
            raise self._failed(name, refusal) from None
        await self._read_again(name, digest)
        return True

    async def _compare(self, name: str, digest: bytes) -> bool:
        """False where the name holds just this. Raises ObjectConflict, ObjectMissing."""
        found = await self._get(name)
        if await asyncio.to_thread(_digest, found) != digest:
            raise ObjectConflict(f"{name} is taken by an object with other content")
        return False

    async def _read_again(self, name: str, digest: bytes) -> None:
        try:
            found = await self._get(name)
        except ObjectMissing:
            raise StoreUnavailable(f"{name} was stored and is not there; look at the store") from None
        if await asyncio.to_thread(_digest, found) != digest:
            raise StoreUnavailable(f"{name} was stored and reads otherwise; look at the store")

    async def _get(self, name: str) -> bytes:
        try:
            answer = await self._call("get_object", name)
        except SaidNo as refusal:
            raise self._failed(name, refusal) from None
        body: bytes = answer["Body"]
        return body

    async def _probe(self) -> bool:
        refusal = await self._try(_PROBE, _digest(_PROBE_DATA)) or await self._try(_PROBE, _digest(_PROBE_DATA))
        if refusal is None:
            raise UnfitStore(
                f"{self} ignores If-None-Match: it would replace recordings without a word. Take another store, "
                "or, if this gateway alone writes to it, set conditional_put = false"
            )
        if refusal.code not in _TAKEN:
            raise self._failed(_PROBE, refusal)
        refusal = await self._try(_CHECKSUM_PROBE, _digest(b""))
        if refusal is None or refusal.code in _TAKEN:  # taken: it was taken in, with the wrong checksum, before
            return False
        if refusal.status != 400:
            raise self._failed(_CHECKSUM_PROBE, refusal)
        return True

    async def _try(self, key: str, digest: bytes) -> SaidNo | None:
        """Put the probe unless it is there, under this checksum; None: the store took it."""
        said = {"Body": _PROBE_DATA, **_checksum(digest), **self._encryption()}
        try:
            await self._call("put_object", key, IfNoneMatch="*", **said)
        except SaidNo as refusal:
            return refusal
        return None

    def _object(self, data: bytes, digest: bytes) -> dict[str, Any]:
        said: dict[str, Any] = {"Body": data, **_checksum(digest), **self._encryption()}
        if self.bucket.lock_mode is not None:
            said["ObjectLockMode"] = self.bucket.lock_mode
            said["ObjectLockRetainUntilDate"] = self._clock() + timedelta(days=self.bucket.lock_days)
        return said

    def _encryption(self) -> dict[str, Any]:
        if self.bucket.encryption is None:
            return {}
        said: dict[str, Any] = {"ServerSideEncryption": self.bucket.encryption}
        if self.bucket.encryption_key_id is not None:
            said["SSEKMSKeyId"] = self.bucket.encryption_key_id
        if self.bucket.encryption == "aws:kms":
            said["BucketKeyEnabled"] = True  # one call of KMS for many objects
        return said

    async def _call(self, operation: str, name: str, **parameters: Any) -> dict[str, Any]:
        return await self._request(operation, Key=self.bucket.prefix + name, **parameters)

    async def _request(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._client.call(operation, **self._where, **parameters)
        except NoAnswer as failure:
            raise StoreUnreachable(f"{self} cannot be reached: {failure}") from None

    def _failed(self, name: str, refusal: SaidNo) -> Exception:
        if refusal.code in _MISSING:
            return ObjectMissing(f"there is no object {name}")
        advice = _ADVICE.get(refusal.code)
        return StoreUnavailable(f"{self}, {name}: {f'{advice} ({refusal})' if advice else refusal}")

    def __str__(self) -> str:
        return f"s3://{self.bucket.name}/{self.bucket.prefix}"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _checksum(digest: bytes) -> dict[str, str]:
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(digest).decode()}

"""The parts of recordings as the configuration says, opened and closed; AWS is loaded only where it is used."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import keys, recording_parts
from gateway.config import Configuration, Tls
from gateway.identity.key_files import KeyFileUnusable
from gateway.keys import Keys
from gateway.places.model import Place
from gateway.recording_parts import Budgets
from recorder.errors import KeyRefused, KeyUnavailable, StoreUnavailable, UnfitStore
from recorder.key_providers.local_file import LocalKeyFile
from recorder.object_stores.local_folder import LocalFolder
from recorder.object_stores.s3 import S3Store
from recorder.session_log.ports import LogRefused, LogUnavailable
from recorder.signatures import public_key_of
from tests.aws.making import TWICE, kms_client, logs_client, new_bucket, new_key, s3_client
from tests.aws.servers import ACCOUNT, REGION, Rclone

pytestmark = pytest.mark.usefixtures("aws_environment")
CONTEXT = {"session": "s-1"}


def settings(folder: Path, **recordings: Any) -> Configuration:
    return Configuration.model_validate({"data_dir": folder, "recordings": recordings})


@pytest.fixture
def held(tmp_path: Path) -> Keys:
    return keys.load(tmp_path / "keys", Tls(), lambda: datetime.now(UTC))


def s3(address: str, bucket: str, **more: Any) -> dict[str, Any]:
    section = {"bucket": bucket, "endpoint_url": address, "region": REGION, "path_style": True, **more}
    return {"store": "s3", "s3": section}


def kms(address: str, key_id: str, **more: Any) -> dict[str, Any]:
    section = {"key_id": key_id, "endpoint_url": address, "region": REGION, **more}
    return {"key_provider": "aws_kms", "kms": section}


async def test_without_aws_everything_is_local(tmp_path: Path, held: Keys) -> None:
    async with recording_parts.opened(settings(tmp_path), held) as parts:
        assert isinstance(parts.store, LocalFolder)
        assert parts.keys is held.recordings
        assert parts.signer is held.manifests
        assert held.recordings.key_id in parts.key


async def test_with_aws_both_work_and_what_the_key_file_wrapped_still_opens(
    tmp_path: Path, held: Keys, moto: str
) -> None:
    async with s3_client(moto) as store, kms_client(moto) as client:
        bucket, key_id = await new_bucket(store), await new_key(client)
    before = await held.recordings.generate_data_key(CONTEXT)
    said = settings(tmp_path, **s3(moto, bucket), **kms(moto, key_id))
    async with recording_parts.opened(said, held) as parts:
        assert parts.key == f"KMS key {key_id}"
        assert [each async for each in parts.store.list("")] == []
        after = await parts.keys.generate_data_key(CONTEXT)
        assert (before.provider, after.provider) == ("local-file", "aws-kms")
        assert await parts.keys.unwrap(after.wrapped, CONTEXT) == after.plaintext
        assert await parts.keys.unwrap(before.wrapped, CONTEXT) == before.plaintext
        for wrapped in (before.wrapped, after.wrapped):
            with pytest.raises(KeyRefused):
                await parts.keys.unwrap(wrapped, {"session": "s-2"})
        LocalKeyFile.create(tmp_path / "other")
        foreign = await LocalKeyFile(tmp_path / "other").generate_data_key(CONTEXT)
        with pytest.raises(KeyRefused):
            await parts.keys.unwrap(foreign.wrapped, CONTEXT)


async def test_accounts_lock_objects_for_no_longer_than_is_said(tmp_path: Path, held: Keys, moto: str) -> None:
    async with s3_client(moto) as store:
        bucket = await new_bucket(store, ObjectLockEnabledForBucket=True)
    own = s3(moto, bucket, object_lock_mode="governance", object_lock_days=100)
    async with recording_parts.opened(settings(tmp_path, longest_object_lock_days=60, **own), held) as parts:
        assert isinstance(parts.store, S3Store)
        assert parts.store.bucket.lock_days == 100  # the operator's own
        async with parts.pool.using(Place("shop", retention_mode="compliance", retention_days=61)) as opened:
            assert isinstance(opened.store, S3Store)
            assert (opened.store.bucket.lock_mode, opened.store.bucket.lock_days) == ("COMPLIANCE", 60)


async def test_manifests_are_believed_by_the_key_of_kms_and_by_those_before_it(tmp_path: Path, held: Keys) -> None:
    nowhere, file = "http://127.0.0.1:9", tmp_path / "kms.pem"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signing = {"signing_key_id": "alias/manifests", "signing_public_key": file}
    said = settings(tmp_path, **kms(nowhere, "alias/x", **signing))
    async with recording_parts.opened(said, held) as parts:
        assert parts.signer.public_key == public_key_of(file.read_bytes())
        assert parts.public_keys == (parts.signer.public_key, held.manifests.public_key)
    for text in (held.manifests.public_pem, "nothing"):
        file.write_text(text)
        with pytest.raises(KeyFileUnusable, match=r"kms\.pem holds no"):
            async with recording_parts.opened(said, held):
                pass
    file.unlink()
    with pytest.raises(KeyFileUnusable, match=r"kms\.pem cannot be read"):
        async with recording_parts.opened(said, held):
            pass


async def test_what_cannot_be_reached_keeps_nothing_from_starting(tmp_path: Path, held: Keys) -> None:
    nowhere = "http://127.0.0.1:9"
    said = settings(tmp_path, **s3(nowhere, "recordings"), **kms(nowhere, "alias/x"))
    brief = Budgets(store=TWICE, keys=TWICE, examination_seconds=1)
    async with recording_parts.opened(said, held, brief) as parts:
        with pytest.raises(KeyUnavailable):
            await parts.keys.generate_data_key(CONTEXT)
        with pytest.raises(StoreUnavailable):
            await parts.store.get("a")


async def test_a_store_that_would_lose_recordings_is_refused(tmp_path: Path, held: Keys, rclone: Rclone) -> None:
    async with s3_client(rclone.address) as client:
        bucket = await new_bucket(client)
    with pytest.raises(UnfitStore, match="conditional_put"):
        async with recording_parts.opened(settings(tmp_path, **s3(rclone.address, bucket)), held):
            pass
    said = settings(tmp_path, **s3(rclone.address, bucket, conditional_put=False))
    async with recording_parts.opened(said, held) as parts:
        assert (await parts.store.put_if_absent("a", b"", EMPTY)).created


@pytest.mark.rule("R26")
async def test_sessions_are_logged_where_the_configuration_says(tmp_path: Path, held: Keys, moto: str) -> None:
    now = datetime.now(UTC)
    async with recording_parts.opened(settings(tmp_path), held) as parts:
        with pytest.raises(LogRefused, match="name a log group"):
            await parts.log_sinks.try_out(None, now)
    file = tmp_path / "sessions.jsonl"
    said = {"target": "file", "file": file}
    async with recording_parts.opened(logging(tmp_path, **said), held) as parts:
        await parts.log_sinks.try_out(None, now)
        assert '"type": "diagnosis"' in file.read_text()
    group = f"/{tmp_path.name}"
    said = {"target": "cloudwatch", "log_group": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"}
    async with (
        logs_client(moto) as client,
        recording_parts.opened(logging(tmp_path, **said, endpoint_url=moto), held) as parts,
    ):
        with pytest.raises(LogUnavailable, match="no such log group"):
            await parts.log_sinks.try_out(None, now)
        await client.call("create_log_group", logGroupName=group)
        await parts.log_sinks.try_out(None, now)
        streams = await client.call("describe_log_streams", logGroupName=group)
        assert [each["logStreamName"] for each in streams["logStreams"]] == ["jitgate-diagnosis"]


def logging(folder: Path, **said: Any) -> Configuration:
    return Configuration.model_validate({"data_dir": folder, "session_log": said})


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_gateway_without_aws_does_not_load_it() -> None:
    code = (
        "import sys, gateway.serve; "
        "print([name for name in sys.modules if name in ('aioboto3', 'aiobotocore', 'boto3', 'botocore')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_command_says_why_it_does_not_start(tmp_path: Path, rclone: Rclone) -> None:
    """An unfit store is one line, not a traceback."""
    (rclone.folder / "unfit-bucket").mkdir()
    file = tmp_path / "jitgate.toml"
    file.write_text(
        f"data_dir = '{tmp_path}'\nlisten = '127.0.0.1:0'\nsign_in_listen = '127.0.0.1:0'\n"
        f"agent_listen = '127.0.0.1:0'\n[recordings]\nstore = 's3'\n[recordings.s3]\nbucket = 'unfit-bucket'\n"
        f"endpoint_url = '{rclone.address}'\nregion = '{REGION}'\npath_style = true\n"
    )
    command: list[str | Path] = [Path(sys.executable).parent / "jitgate", "serve", "--config", file]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "cannot start: s3://unfit-bucket/ ignores If-None-Match" in result.stderr
    assert "Traceback" not in result.stderr

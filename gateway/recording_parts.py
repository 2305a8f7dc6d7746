"""What recordings are made with, as the configuration says: an object store, data keys, a signature."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.config import Configuration
from gateway.identity.key_files import KeyFileUnusable
from gateway.keys import Keys, public_key_in
from gateway.places.model import region_of
from gateway.places.pool import Opened, Pool
from gateway.recordings_settings import S3, Kms, SessionLog
from gateway.session_logs.sinks import LogSinks, group_name
from recorder.aws import Access, Client, Patience
from recorder.errors import StoreUnavailable, UnfitStore
from recorder.key_providers import aws_kms, local_file
from recorder.key_providers.aws_kms import AwsKms
from recorder.kms_signing import KmsSigner
from recorder.object_stores import s3
from recorder.object_stores.local_folder import LocalFolder
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.ports import DataKey, KeyProvider, ManifestSigner, ObjectStore
from recorder.session_log import cloudwatch, plain
from recorder.session_log.cloudwatch import CloudWatchLogs
from recorder.session_log.ports import LogSink
from recorder.signatures import ECDSA_P256, algorithm_of

_log = structlog.get_logger("jitgate.recordings")


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long AWS may take: each call of a store and of a key, and the store's examination at the start."""

    store: Patience = s3.PATIENCE
    keys: Patience = aws_kms.PATIENCE
    logs: Patience = cloudwatch.PATIENCE
    examination_seconds: float = 5.0


_USUAL: Final = Budgets()


@dataclass(frozen=True, slots=True)
class RecordingParts:
    """`key` says in words which key wraps; `public_keys` are the raw ones that manifests are believed by.

    Store and keys are those of the configuration; `pool` has those of accounts besides. `log_sinks` are where the
    output of sessions goes as JSON lines.
    """

    store: ObjectStore
    keys: KeyProvider
    key: str
    signer: ManifestSigner
    public_keys: tuple[bytes, ...]
    pool: Pool
    log_sinks: LogSinks


@contextlib.asynccontextmanager
async def opened(settings: Configuration, keys: Keys, budgets: Budgets = _USUAL) -> AsyncIterator[RecordingParts]:
    """The parts, ready, their connections closed at the end. What can't be reached now is reached later.

    Raises UnfitStore where the store would lose recordings, KeyFileUnusable.
    """
    async with contextlib.AsyncExitStack() as stack:
        store: ObjectStore = LocalFolder(settings.recordings_directory)
        if settings.recordings.s3 is not None:
            store = await _bucket(settings.recordings.s3, budgets, stack)
        provider: KeyProvider = keys.recordings
        key = f"local key file, key {keys.recordings.key_id}"
        signer: ManifestSigner = keys.manifests
        if settings.recordings.kms is not None:
            writer, kms = await _kms(settings.recordings.kms, budgets.keys, stack)
            provider = BesidesLocal(kms, keys.recordings)
            key = f"KMS key {kms.key_id}"
            signer = _signer(settings.recordings.kms, writer) or signer
        pool = Pool(
            Opened(store, provider),
            longest_lock_days=settings.recordings.longest_object_lock_days,
            store_patience=budgets.store,
            key_patience=budgets.keys,
        )
        stack.push_async_callback(pool.close)
        public_keys = (signer.public_key, *keys.manifest_public_keys)
        log_sinks = LogSinks(await _log_sink(settings.session_log, budgets.logs, stack), patience=budgets.logs)
        stack.push_async_callback(log_sinks.close)
        yield RecordingParts(store, provider, key, signer, public_keys, pool, log_sinks)


class BesidesLocal:
    """A key provider that took over from the local key file: it makes every new key, the file opens its own."""

    def __init__(self, now: KeyProvider, local: KeyProvider) -> None:
        self._now = now
        self._local = local

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return await self._now.generate_data_key(context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        provider = self._local if wrapped.startswith(local_file.MAGIC) else self._now
        return await provider.unwrap(wrapped, context)


async def _bucket(said: S3, budgets: Budgets, stack: contextlib.AsyncExitStack) -> S3Store:
    options = {**s3.CLIENT_OPTIONS, "s3": {"addressing_style": "path" if said.path_style else "auto"}}
    access = Access(said.region, said.endpoint_url, said.role_arn, said.external_id)
    client = Client("s3", access, budgets.store, connections=2 * s3.AT_ONCE, **options)
    await stack.enter_async_context(client)
    bucket = Bucket(
        said.bucket,
        said.prefix,
        said.expected_bucket_owner,
        lock_mode=said.object_lock_mode.upper() if said.object_lock_mode else None,
        lock_days=said.object_lock_days or 0,
        encryption=said.encryption,
        encryption_key_id=said.encryption_key_id,
        conditional_put=said.conditional_put,
    )
    store = S3Store(client, bucket)
    try:
        async with asyncio.timeout(budgets.examination_seconds):
            await store.examine()
    except UnfitStore:
        raise
    except (StoreUnavailable, TimeoutError) as failure:
        # Sessions go to the spool meanwhile; it is examined before its first object is put.
        _log.warning("recordings.store_unreachable", store=str(store), reason=str(failure) or "no answer")
    return store


async def _log_sink(said: SessionLog, patience: Patience, stack: contextlib.AsyncExitStack) -> LogSink | None:
    if said.target == "stdout":
        return plain.to_stdout()
    if said.file is not None:
        return plain.to_file(said.file)
    if said.log_group is None:
        return None
    access = Access(region_of(said.log_group), said.endpoint_url, said.role_arn, said.external_id)
    client = await stack.enter_async_context(Client("logs", access, patience))
    return CloudWatchLogs(client, group_name(said.log_group))


async def _kms(said: Kms, patience: Patience, stack: contextlib.AsyncExitStack) -> tuple[Client, AwsKms]:
    """The provider, and the client that acts in the writer's role."""
    access = Access(said.region, said.endpoint_url, said.role_arn, said.external_id)
    writer = reader = await stack.enter_async_context(Client("kms", access, patience))
    if said.playback_role_arn is not None and said.playback_role_arn != said.role_arn:
        playback = Access(said.region, said.endpoint_url, said.playback_role_arn, said.external_id)
        reader = await stack.enter_async_context(Client("kms", playback, patience))
    return writer, AwsKms(said.key_id, writer, reader, said.former_key_ids)


def _signer(said: Kms, client: Client) -> KmsSigner | None:
    if said.signing_key_id is None or said.signing_public_key is None:
        return None
    public_key = public_key_in(said.signing_public_key)
    if algorithm_of(public_key) != ECDSA_P256:
        raise KeyFileUnusable(f"{said.signing_public_key} holds no P-256 public key. Take that of signing_key_id")
    return KmsSigner(client, said.signing_key_id, public_key)

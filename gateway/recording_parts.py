"""What recordings are made with, as the configuration says: an object store, and a provider of data keys."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import structlog

from gateway.config import Configuration
from gateway.keys import Keys
from gateway.recordings_settings import S3, Kms
from recorder.aws import Access, Client
from recorder.errors import StoreUnavailable, UnfitStore
from recorder.key_providers import aws_kms, local_file
from recorder.key_providers.aws_kms import AwsKms
from recorder.object_stores import s3
from recorder.object_stores.local_folder import LocalFolder
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.ports import DataKey, KeyProvider, ObjectStore

_EXAMINATION_SECONDS = 5.0
_log = structlog.get_logger("jitgate.recordings")


@dataclass(frozen=True, slots=True)
class RecordingParts:
    """`key` and `place` say in words which key wraps and where objects go."""

    store: ObjectStore
    keys: KeyProvider
    key: str
    place: str


@contextlib.asynccontextmanager
async def opened(settings: Configuration, keys: Keys) -> AsyncIterator[RecordingParts]:
    """The parts, ready, their connections closed at the end. What can't be reached now is reached later.

    Raises UnfitStore where the store would lose recordings.
    """
    async with contextlib.AsyncExitStack() as stack:
        store: ObjectStore = LocalFolder(settings.recordings_directory)
        place = str(settings.recordings_directory)
        if settings.recordings.s3 is not None:
            store = await _bucket(settings.recordings.s3, stack)
            place = str(store)
        provider: KeyProvider = keys.recordings
        key = f"local key file, key {keys.recordings.key_id}"
        if settings.recordings.kms is not None:
            provider = BesidesLocal(await _kms(settings.recordings.kms, stack), keys.recordings)
            key = f"KMS key {settings.recordings.kms.key_id}"
        yield RecordingParts(store, provider, key, place)


class BesidesLocal:
    """A key provider that took over from the local key file: it makes every new key, the file opens its own."""

    def __init__(self, now: KeyProvider, local: KeyProvider) -> None:
        self._now = now
        self._local = local

    @property
    def name(self) -> str:
        return self._now.name

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return await self._now.generate_data_key(context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        provider = self._local if wrapped.startswith(local_file.MAGIC) else self._now
        return await provider.unwrap(wrapped, context)


async def _bucket(said: S3, stack: contextlib.AsyncExitStack) -> S3Store:
    options = {**s3.CLIENT_OPTIONS, "s3": {"addressing_style": "path" if said.path_style else "auto"}}
    access = Access(said.region, said.endpoint_url, said.role_arn, said.external_id)
    client = Client("s3", access, s3.PATIENCE, connections=2 * s3.AT_ONCE, **options)
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
        async with asyncio.timeout(_EXAMINATION_SECONDS):
            await store.examine()
    except UnfitStore:
        raise
    except (StoreUnavailable, TimeoutError) as failure:
        # Sessions go to the spool meanwhile; it is examined before its first object is put.
        _log.warning("recordings.store_unreachable", store=str(store), reason=str(failure) or "no answer")
    return store


async def _kms(said: Kms, stack: contextlib.AsyncExitStack) -> AwsKms:
    access = Access(said.region, said.endpoint_url, said.role_arn, said.external_id)
    writer = reader = await stack.enter_async_context(Client("kms", access, aws_kms.PATIENCE))
    if said.playback_role_arn is not None and said.playback_role_arn != said.role_arn:
        playback = Access(said.region, said.endpoint_url, said.playback_role_arn, said.external_id)
        reader = await stack.enter_async_context(Client("kms", playback, aws_kms.PATIENCE))
    return AwsKms(said.key_id, writer, reader, said.former_key_ids)

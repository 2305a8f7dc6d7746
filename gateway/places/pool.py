"""Places in use: clients of AWS in accounts' roles, opened when somebody needs them, a bounded number of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.places.lending import Lending
from gateway.places.model import Place, region_of
from recorder.aws import Access, Client, Patience
from recorder.errors import KeyUnavailable, StoreUnavailable, UnfitStore
from recorder.key_providers import aws_kms
from recorder.key_providers.aws_kms import AwsKms
from recorder.object_stores import s3
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.ports import KeyProvider, ObjectStore

LIMIT: Final = 32
"""Places that are kept open while nobody uses them, each with up to three clients."""
EXAMINATION_SECONDS: Final = 10.0
DIAGNOSIS: Final = {"purpose": "diagnosis"}
"""The encryption context of data keys that are made to see whether that works; key policies may name it."""
_SESSION_NAME_CHARACTERS: Final = 64
_log = structlog.get_logger("jitgate.recordings")


@dataclass(frozen=True, slots=True)
class Opened:
    """What a recording in a place is made and read with."""

    store: ObjectStore
    keys: KeyProvider


class Pool:
    """Belongs to one event loop. `own` is what the gateway's own configuration says.

    No object of an account is locked for more than `longest_lock_days`.
    """

    def __init__(
        self,
        own: Opened,
        *,
        longest_lock_days: int,
        limit: int = LIMIT,
        store_patience: Patience = s3.PATIENCE,
        key_patience: Patience = aws_kms.PATIENCE,
    ) -> None:
        self.own = own
        self._longest_lock_days = longest_lock_days
        self._store_patience = store_patience
        self._key_patience = key_patience
        self._lending = Lending(self._open, limit)

    @contextlib.asynccontextmanager
    async def using(self, place: Place | None) -> AsyncIterator[Opened]:
        """The parts of a place, None: the gateway's own; their connections stay open for the next one.

        Raises UnfitStore where there can be no such place.
        """
        if place is None:
            yield self.own
            return
        async with self._lending.using(place) as opened:
            yield opened

    async def examine(self, place: Place) -> None:
        """Puts to its bucket and makes and opens a data key, within ten seconds.

        Raises UnfitStore, StoreUnavailable, KeyUnavailable, KeyRefused.
        """
        try:
            async with asyncio.timeout(EXAMINATION_SECONDS), self.using(place) as opened:
                if isinstance(opened.store, S3Store):
                    await opened.store.examine()
                key = await opened.keys.generate_data_key(DIAGNOSIS)
                if await opened.keys.unwrap(key.wrapped, DIAGNOSIS) != key.plaintext:
                    raise KeyUnavailable(f"{place.key}: what it wraps it does not unwrap")
        except TimeoutError:
            raise StoreUnavailable(f"{place}: no answer within {EXAMINATION_SECONDS:g} seconds") from None

    async def close(self) -> None:
        await self._lending.close()

    def _open(self, place: Place) -> tuple[Opened, list[Client]]:
        clients: list[Client] = []
        store, keys = self.own.store, self.own.keys
        if place.bucket:
            client = self._s3(place)
            clients.append(client)
            store = S3Store(client, Bucket(place.bucket, expected_owner=place.owner))
        if place.retention_mode:
            if not isinstance(store, S3Store):
                raise UnfitStore("retention needs a bucket: name one, or none of both")
            store = store.retaining(place.retention_mode.upper(), self._lock_days(place))
        if place.key:
            writer = reader = self._kms(place, place.role, place.external_id)
            clients.append(writer)
            if place.playback_role != place.role:
                reader = self._kms(place, place.playback_role, place.playback_external_id)
                clients.append(reader)
            keys = AwsKms(place.key, writer, reader, place.former_keys)
        return Opened(store, keys), clients

    def _lock_days(self, place: Place) -> int:
        """How long its objects are locked. Preferences, and places of sessions, can be older than the bound.

        The bound wins: a lock that is too short can be lengthened, one that is too long is never taken back. The
        object is put in either case: to refuse it could lose the recording.
        """
        days = min(place.retention_days, self._longest_lock_days)
        if days < place.retention_days:
            _log.warning(
                "recordings.object_lock_shortened",
                account=place.account,
                mode=place.retention_mode,
                chosen_days=place.retention_days,
                days=days,
            )
        return days

    def _s3(self, place: Place) -> Client:
        access = access_of(place.account, place.bucket_region, place.role, place.external_id)
        return Client("s3", access, self._store_patience, connections=2 * s3.AT_ONCE, **s3.CLIENT_OPTIONS)

    def _kms(self, place: Place, role: str, external_id: str) -> Client:
        access = access_of(place.account, region_of(place.key), role, external_id)
        return Client("kms", access, self._key_patience)


def access_of(account: str, region: str, role: str, external_id: str) -> Access:
    """What an account uses is used in its role; CloudTrail tells for which account that was."""
    name = f"jitgate-{account}"[:_SESSION_NAME_CHARACTERS]
    return Access(region, None, role, external_id or None, session_name=name)

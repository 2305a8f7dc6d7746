"""What `jit doctor` asks of the gateway: database, spool, recordings, uploads, keys."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from gateway.api.diagnosis import Check, Diagnosis
from gateway.config import Configuration
from gateway.errors import Refused
from gateway.identity.oidc.errors import ProviderUnavailable
from gateway.identity.oidc.provider import Provider
from gateway.places.choosing import log_place_of, place_of
from gateway.places.model import OWN, Allowance
from gateway.places.pool import DIAGNOSIS, Pool
from gateway.recording_parts import RecordingParts
from gateway.session_logs.sinks import LogSinks
from gateway.store import allowances, preferences, uploads
from gateway.store.database import Database
from gateway.store.preferences import Preferences
from recorder.errors import KeyRefused, KeyUnavailable, RecorderError, StoreUnavailable
from recorder.object_stores.s3 import S3Store
from recorder.room import Room
from recorder.signatures import algorithm_of

_LOW_SPACE_BYTES = 1 << 30
_PLACES = "recordings of accounts"
_LOGS = "session logs"
_SIGNED = b"jitgate diagnosis"  # a manifest is signed behind another word


def checks(
    settings: Configuration,
    database: Database,
    recordings: RecordingParts,
    providers: Mapping[str, Provider],
    room: Room,
) -> tuple[Check, ...]:
    """The checks of this process, each against the real thing."""

    async def check_database() -> Diagnosis:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
        return Diagnosis("database", True, f"{database.engine.dialect.name} answers")

    async def check_spool() -> Diagnosis:
        found = await asyncio.to_thread(_check_folder, "spool", settings.spool_directory)
        return _check_room(room) if room.is_crowded else found

    async def check_store() -> Diagnosis:
        if isinstance(recordings.store, S3Store):
            return await _check_bucket(recordings.store)
        return await asyncio.to_thread(_check_folder, "recordings", settings.recordings_directory)

    async def check_key() -> Diagnosis:
        advice = "No session that must be recorded begins until it works."
        try:
            key = await recordings.keys.generate_data_key(DIAGNOSIS)
            unwrapped = await recordings.keys.unwrap(key.wrapped, DIAGNOSIS)
        except (KeyUnavailable, KeyRefused) as failure:
            return Diagnosis("recording key", False, str(failure), advice)
        if unwrapped != key.plaintext:
            return Diagnosis("recording key", False, "what it wraps it does not unwrap", advice)
        return Diagnosis("recording key", True, recordings.key)

    async def check_places() -> Diagnosis:
        return await _check_places(database, recordings.pool)

    async def check_logs() -> Diagnosis:
        return await _check_logs(database, recordings.log_sinks)

    async def check_uploads() -> Diagnosis:
        async with database.read() as connection:
            failing, aside = await uploads.counts(connection)
        if failing or aside:
            found = f"recordings that can't be stored now: {failing}, in quarantine: {aside}"
            advice = "Nothing of them is lost. See which and why: jit recordings uploads"
            return Diagnosis("uploads", False, found, advice)
        return Diagnosis("uploads", True, "nothing fails, nothing is in quarantine")

    async def check_signature() -> Diagnosis:
        signer = recordings.signer
        try:
            await signer.sign(_SIGNED)
        except (KeyUnavailable, KeyRefused) as failure:
            advice = "Recordings wait in the spool until they can be signed."
            return Diagnosis("signing key", False, str(failure), advice)
        return Diagnosis("signing key", True, f"{algorithm_of(signer.public_key)}, key {signer.key_id}")

    return (
        Check("database", check_database),
        Check("spool", check_spool),
        Check("recordings", check_store),
        Check("uploads", check_uploads),
        Check("recording key", check_key),
        Check(_PLACES, check_places),
        Check(_LOGS, check_logs),
        Check("signing key", check_signature),
        *(_provider_check(provider) for provider in providers.values()),
    )


def _check_room(room: Room) -> Diagnosis:
    advice = (
        "No session that must be recorded begins; those that print much wait, and end after a while. Cure what "
        "uploads wait for, or give the spool more room: spool_quota_mib, spool_min_free_mib, its disk."
    )
    return Diagnosis("spool", False, str(room), advice)


def _provider_check(provider: Provider) -> Check:
    part = f"identity provider {provider.name}"

    async def check_provider() -> Diagnosis:
        try:
            count = await provider.probe()
        except ProviderUnavailable as error:
            advice = "Nobody can sign in there until it is back; local users can."
            return Diagnosis(part, False, str(error), advice)
        return Diagnosis(part, True, f"{provider.settings.issuer} answers, with {count} signing keys")

    return Check(part, check_provider)


async def _check_bucket(store: S3Store) -> Diagnosis:
    try:
        await store.examine()
    except StoreUnavailable as failure:
        advice = "Recordings wait in the spool until it is back; sessions end when that is full."
        return Diagnosis("recordings", False, str(failure), advice)
    return Diagnosis("recordings", True, f"{store} takes objects and replaces none")


async def _check_places(database: Database, pool: Pool) -> Diagnosis:
    """Where preferences choose that recordings go: whether it is still allowed, and works."""

    async def examine(account: str, wanted: Preferences, allowed: Sequence[Allowance]) -> None:
        place = place_of(wanted.recording_place, account, allowed)
        if place is not None:
            await pool.examine(place)

    count, problems = await _examined(database, lambda wanted: wanted.recording_place != OWN, examine)
    if problems:
        advice = "No session that must be recorded begins there until it works; what was recorded waits."
        return Diagnosis(_PLACES, False, problems, advice)
    return Diagnosis(_PLACES, True, f"{count} accounts and Regions have places of their own")


async def _check_logs(database: Database, sinks: LogSinks) -> Diagnosis:
    """Where preferences choose that sessions are logged."""

    async def examine(account: str, wanted: Preferences, allowed: Sequence[Allowance]) -> None:
        place = None
        if wanted.log_group:
            place = log_place_of(wanted.log_group, wanted.recording_place.role, account, allowed)
        await sinks.try_out(place, datetime.now(UTC))

    count, problems = await _examined(database, lambda wanted: wanted.log_sessions, examine)
    if problems:
        return Diagnosis(_LOGS, False, problems, "Sessions go on; what they print is not logged until it works.")
    return Diagnosis(_LOGS, True, f"sessions of {count} accounts and Regions are logged")


async def _examined(
    database: Database,
    concerns: Callable[[Preferences], bool],
    examine: Callable[[str, Preferences, Sequence[Allowance]], Awaitable[None]],
) -> tuple[int, str]:
    """How many preferences it concerns, and what is wrong with them."""
    async with database.read() as connection:
        chosen = await preferences.every(connection)
        allowed = await allowances.of(connection)

    async def problem(account: str, region: str, wanted: Preferences) -> str:
        try:
            await examine(account, wanted, allowed)
        except (Refused, RecorderError) as failure:
            return f"{account}/{region}: {failure.message if isinstance(failure, Refused) else failure}"
        return ""

    concerned = [(*where, wanted) for where, wanted in chosen.items() if concerns(wanted)]
    found = await asyncio.gather(*(problem(*each) for each in concerned))
    return len(concerned), "; ".join(filter(None, found))


def _check_folder(part: str, folder: Path) -> Diagnosis:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"jitgate")
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Diagnosis(
            part, False, f"{folder}: {error.strerror}", "Make the folder writable or free space on it."
        )
    if free < _LOW_SPACE_BYTES:
        return Diagnosis(
            part, False, f"{folder}: {free >> 20} MiB free", "Free space: sessions end when the disk is full."
        )
    return Diagnosis(part, True, f"{folder}: {free >> 30} GiB free")

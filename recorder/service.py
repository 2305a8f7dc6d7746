"""The recorder of one process: opens recordings, uploads what they wrote, finishes what dead writers left."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from recorder.model import Durability, Recovery, SessionInfo
from recorder.ports import Clock, KeyProvider, ManifestSigner, ObjectStore, RecordingObserver, Ticks
from recorder.recording import Recording


def utc_now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Owns one writer's folder below `spool_dir`; any number of processes may share `spool_dir`."""

    def __init__(
        self,
        spool_dir: Path,
        store: ObjectStore,
        keys: KeyProvider,
        signer: ManifestSigner,
        *,
        durability: Durability = Durability.PROCESS,
        observer: RecordingObserver | None = None,
        clock: Clock = utc_now,
        ticks: Ticks = time.monotonic_ns,
        segment_bytes: int = 8 * 1024 * 1024,
        segment_seconds: float = 60.0,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> Recovery:
        """Claim a folder in the spool and finish what dead writers left there. Call once, before `open`."""
        raise NotImplementedError

    async def stop(self, timeout: float = 10.0) -> None:
        """Close what is open, wait up to `timeout` seconds for the uploads; the rest is the next start's recovery."""
        raise NotImplementedError

    async def open(self, session: SessionInfo) -> Recording:
        """Begin a recording: data keys wrapped and persisted before this returns, so before the first byte.

        Raises RecordingFailed with the reason (no key, no disk, the session is already being recorded).
        """
        raise NotImplementedError

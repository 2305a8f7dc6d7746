"""Recorders over S3 and KMS that fail as a fault says, and a session that is written to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from recorder.aws import Client
from recorder.key_providers.aws_kms import AwsKms
from recorder.kms_signing import KmsSigner
from recorder.model import Manifest
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.recording import Recording
from recorder.service import Recorder
from tests.aws.making import BRIEF, kms_client, new_bucket, new_key, s3_client
from tests.aws.signer import PUBLIC, signing
from tests.aws.trouble import Answer, Ask, Call, Trouble, Troubled, none, troubled
from tests.crash.faults.outcome import Evidence, Outcome, Where
from tests.recorder.conftest import Ears, session

SEGMENT_BYTES = 12_000


@dataclass
class World:
    """`trouble` befalls every call to S3 and KMS; what has none of its own is answered by moto."""

    folder: Path
    proxy: Troubled
    s3: Client
    store: S3Store
    keys: AwsKms
    signer: KmsSigner
    random: Random
    ears: Ears = field(default_factory=Ears)
    trouble: Trouble = none
    delivered: dict[str, bytes] = field(default_factory=dict)
    started: list[Recorder] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def recorder(self, spool: Path | None = None, **changes: Any) -> Recorder:
        made = Recorder(
            spool or self.spool,
            self.store,
            self.keys,
            self.signer,
            observer=self.ears,
            segment_bytes=SEGMENT_BYTES,
            **changes,
        )
        self.started.append(made)
        return made

    def deliver(self, recording: Recording, chunks: int) -> None:
        """Passes on what is recorded, as a relay does."""
        said = bytearray(self.delivered.get(recording.session.session_id, b""))
        for _ in range(chunks):
            chunk = self.random.randbytes(self.random.choice((1, 30, 300, 1500)))
            recording.output(chunk, len(said))
            said += chunk
        self.delivered[recording.session.session_id] = bytes(said)

    async def outcome(self, *manifests: Manifest) -> Outcome:
        """Of all that was delivered; nothing may be left of it in the spool."""
        evidence = Evidence(self.store, self.keys, [PUBLIC])
        total = Outcome()
        found = {manifest.session.session_id: manifest for manifest in manifests}
        for session_id, said in self.delivered.items():
            if session_id not in found:
                total.add(Outcome(len(said), len(said), problems=[f"{session_id} was not finished"]))
                continue
            total.add(await evidence.of(found[session_id], session(int(session_id[2:])), said))
        left = [path for path in self.spool.rglob("*.journal") if path.is_file()]
        total.expect(not left, f"left in the spool: {left}")
        total.expect(not self.ears.aside, f"set aside: {self.ears.aside}")
        return total

    def answer(self, call: Call, ask: Ask) -> Answer:
        return self.trouble(call, lambda: signing(call, ask) if call.operation == "Sign" else ask())

    async def versions(self) -> list[str]:
        """The name of every version of every object."""
        page = await self.s3.call("list_object_versions", Bucket=self.store.bucket.name)
        return [each["Key"] for each in page.get("Versions", ())]


@contextlib.asynccontextmanager
async def world(where: Where, random: Random) -> AsyncIterator[World]:
    """Its bucket keeps all versions, so that what was overwritten would show."""
    async with s3_client(where.moto) as s3, kms_client(where.moto) as kms:
        bucket = await new_bucket(s3, ObjectLockEnabledForBucket=True)
        key = await new_key(kms)
    with troubled(where.moto) as proxy:
        async with s3_client(proxy.url, BRIEF) as s3, kms_client(proxy.url, BRIEF) as kms:
            store, keys = S3Store(s3, Bucket(bucket)), AwsKms(key, kms, kms)
            made = World(where.folder, proxy, s3, store, keys, KmsSigner(kms, "alias/manifests", PUBLIC), random)
            proxy.trouble = made.answer
            try:
                yield made
            finally:
                made.trouble = none
                for recorder in made.started:
                    await recorder.stop(timeout=0)


async def begun(world: World, number: int = 1) -> tuple[Recorder, Recording]:
    recorder = world.recorder()
    await recorder.start()
    return recorder, await recorder.open(session(number))


async def died(world: World, recorder: Recorder, recording: Recording) -> None:
    """The writer is gone as by a kill."""
    recording.suspend()
    await recorder.stop(timeout=0)


async def until(condition: Callable[[], object]) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)

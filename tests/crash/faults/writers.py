"""Writers in processes of their own: killed, starved of disk, or stopped until somebody else took over."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Manifest
from recorder.object_stores.local_folder import LocalFolder
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.ports import ObjectStore
from recorder.recording import PAUSE_SECONDS
from recorder.service import Recorder
from recorder.signing import LocalSigner
from tests.aws.making import new_bucket, s3_client
from tests.crash.faults.outcome import Evidence, Outcome, Where
from tests.crash.kills import crash_stage, kill_once
from tests.processes import wait_for
from tests.recorder.test_crash import victim


def gateway_killed(where: Where, random: Random, runs: int) -> Iterable[Outcome]:
    """The real gateway, under busy sessions; see `python -m tests.crash kills`."""
    with crash_stage(where.folder) as on:
        for number in range(1, runs + 1):
            kill = kill_once(on, number, random)
            yield Outcome(
                delivered=kill.seen,
                lost=kill.missing,
                gaps=kill.gaps,
                recordings=kill.recordings,
                verified=kill.verified,
                problems=kill.problems,
            )


async def disk_full(where: Where, random: Random) -> Outcome:
    """The session ends, and says why; all that was passed on until then is recorded. Its end finds room again."""
    return await _disk_full(where.folder, random, evidence_in(where.folder))


async def disk_stays_full(where: Where, random: Random) -> Outcome:
    """The same without any room for the end, the notes of what is stored, the manifest; the store is elsewhere."""
    async with s3_client(where.moto) as s3:
        bucket = await new_bucket(s3)
        evidence = replace(evidence_in(where.folder), store=S3Store(s3, Bucket(bucket)))
        return await _disk_full(where.folder, random, evidence, where.moto, bucket)


async def _disk_full(root: Path, random: Random, evidence: Evidence, *store: str) -> Outcome:
    process = victim(root, random.randrange(1 << 60), str(random.randrange(3_000, 18_000)), *store)
    seen, said = process.communicate(timeout=120)
    (manifest,) = await evidence.manifests()
    outcome = await evidence.of(manifest, manifest.session, seen)
    outcome.expect(b"the spool cannot be written" in said, f"it said {said!r}")
    outcome.expect("recording failed" in manifest.ended, f"it ended: {manifest.ended}")
    return outcome


async def paused_writer(where: Where, random: Random) -> Outcome:
    """SIGSTOP; its lock is given away, another one finishes its recording; SIGCONT.

    On one machine the lock of a stopped writer holds and nobody takes over: a file server gave this one away.
    """
    root = where.folder
    evidence = evidence_in(root)
    process = victim(root, random.randrange(1 << 60))
    try:
        seen = read_until(process, random.uniform(1, 300_000))
        process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        next((root / "spool").glob("w-*/.lock")).unlink()
        manifest = await finished(root)
        before = await digests(evidence.store)
        wait_for(lambda: time.monotonic() - stopped > PAUSE_SECONDS, what="a pause")
        process.send_signal(signal.SIGCONT)
        rest, said = process.communicate(timeout=120)
    finally:
        process.kill()
    if manifest is None:
        return Outcome(problems=["nothing was taken over"])
    outcome = await evidence.of(manifest, manifest.session, seen + rest)
    outcome.expect(b"could not be finished" in said, f"it said {said.decode()[-300:]}")
    outcome.expect(await digests(evidence.store) == before, "it wrote after the takeover")
    return outcome


def evidence_in(root: Path) -> Evidence:
    """With new keys, which a writer in `root` finds there."""
    keys, signer = LocalKeyFile.create(root / "keys"), LocalSigner.create(root / "signing.pem")
    return Evidence(LocalFolder(root / "objects"), keys, [signer.public_key])


async def finished(root: Path) -> Manifest | None:
    """What another writer in `root` makes of what it finds there."""
    keys, signer = LocalKeyFile(root / "keys"), LocalSigner.load(root / "signing.pem")
    recorder = Recorder(root / "spool", LocalFolder(root / "objects"), keys, signer)
    recovery = await recorder.start()
    await recorder.stop()
    return recovery.finished[0] if recovery.finished else None


def read_until(process: subprocess.Popen[bytes], length: float) -> bytes:
    """At least so many bytes of what it passes on."""
    assert process.stdout is not None
    seen = bytearray()
    while len(seen) < length:
        more = os.read(process.stdout.fileno(), 65536)
        assert more, "the writer ended by itself"
        seen += more
    return bytes(seen)


async def digests(store: ObjectStore) -> dict[str, str]:
    """Of the objects; what a writer was still writing when it was stopped is none."""
    names = [found.name async for found in store.list("")]
    return {name: hashlib.sha256(await store.get(name)).hexdigest() for name in names}

"""A real writer process, killed or starved of disk: not one byte that its reader saw is missing.

python -m tests.recorder.test_crash 100     kill it so often and print what was found
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from recorder.exporting import raw_output
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Manifest, encryption_context, manifest_name
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.service import Recorder
from recorder.signing import LocalSigner
from recorder.verification import Opening, verify

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the reader saw, what the recording has."""

    seen: bytes
    recorded: bytes
    manifest: Manifest


def victim(root: Path, seed: int, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.recorder.victim", str(root), str(seed), *more]
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def recovered(root: Path, seen: bytes, keys: LocalKeyFile, signer: LocalSigner) -> Outcome:
    store = LocalFolder(root / "objects")
    recorder = Recorder(root / "spool", store, keys, signer)
    recovery = await recorder.start()
    await recorder.stop()
    assert not recovery.quarantined
    (manifest,) = recovery.finished
    context = encryption_context(manifest.session)
    playback = await Playback.open(manifest, store, keys, context)
    recorded = b"".join([chunk async for chunk in raw_output(playback)])
    data = await store.get(manifest_name(manifest.prefix, manifest.epochs[-1].epoch))
    checked = await verify(data, store, [signer.public_key], opening=Opening(keys, context))
    assert checked.findings == ()
    return Outcome(seen, recorded, manifest)


async def kill_once(root: Path, seed: int) -> Outcome:
    keys, signer = LocalKeyFile.create(root / "keys"), LocalSigner.create(root / "signing.pem")
    process = victim(root, seed)
    assert process.stdout is not None
    assert process.stderr is not None
    chance = random.Random(seed)
    until = chance.choice((1, 2_000, 100_000, 1_000_000)) * chance.uniform(0.2, 1)
    seen = bytearray()
    while len(seen) < until:
        more = os.read(process.stdout.fileno(), 65536)
        assert more, process.stderr.read().decode()
        seen += more
    time.sleep(chance.uniform(0, 0.003))  # any point of its work, not only one where it waits for the reader
    process.kill()
    seen += process.stdout.read()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    return await recovered(root, bytes(seen), keys, signer)


@pytest.mark.rule("R27")
async def test_kill_9_loses_nothing_that_was_passed_on(tmp_path: Path) -> None:
    for seed in range(1, 21):
        root = tmp_path / str(seed)
        root.mkdir()
        outcome = await kill_once(root, seed)
        assert outcome.recorded.startswith(outcome.seen)
        assert len(outcome.recorded) - len(outcome.seen) <= 3000  # one chunk was recorded and not passed on
        assert outcome.manifest.gaps == ()
        assert outcome.manifest.recovered


@pytest.mark.rule("R27")
def test_a_full_disk_ends_the_session_and_keeps_what_was_written(tmp_path: Path) -> None:
    LocalKeyFile.create(tmp_path / "keys")
    signer = LocalSigner.create(tmp_path / "signing.pem")
    process = victim(tmp_path, 7, "10000")
    seen, said = process.communicate(timeout=60)
    about = ("the spool cannot be written", "the session was ended")
    refused, ended = [line for line in said.decode().splitlines() if line.startswith(about)]
    assert refused.startswith("the spool cannot be written")
    assert ended == f"the session was ended; recording failed: {refused}"
    assert 6_900 <= len(seen) <= 10_000  # the chunk that no longer fits has up to 3,000
    asyncio.run(check_stored(tmp_path, seen, signer))


async def check_stored(root: Path, seen: bytes, signer: LocalSigner) -> None:
    store, keys = LocalFolder(root / "objects"), LocalKeyFile(root / "keys")
    (name,) = [found.name async for found in store.list("") if "manifest" in found.name]
    checked = await verify(await store.get(name), store, [signer.public_key])
    assert checked.intact
    assert checked.manifest is not None
    playback = await Playback.open(checked.manifest, store, keys, encryption_context(checked.manifest.session))
    assert b"".join([chunk async for chunk in raw_output(playback)]) == seen


def main(times: int) -> None:
    missing = 0
    for seed in range(1, times + 1):
        with tempfile.TemporaryDirectory() as folder:
            outcome = asyncio.run(kill_once(Path(folder), seed))
            lost = 0 if outcome.recorded.startswith(outcome.seen) else len(outcome.seen)
            missing += lost
    print(f"{times} kills: {missing} bytes that the reader saw are missing from the recordings")


if __name__ == "__main__":
    main(int(sys.argv[1]))

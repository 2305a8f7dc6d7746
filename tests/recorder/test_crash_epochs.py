"""A real writer process, killed again and again: one recording, every byte once.

python -m tests.recorder.test_crash_epochs 100     do it so often and print what was found
"""

from __future__ import annotations

import asyncio
import itertools
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
from recorder.model import Kind, Manifest, encryption_context, manifest_name
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.signing import LocalSigner
from recorder.verification import Opening, verify
from tests.recorder.resuming_victim import recorder_in, session_of, stream

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Life:
    """One writer's: where it went on (None: it did not come so far), and what it passed on."""

    began: int | None
    passed_on: bytes


def live_once(root: Path, seed: int, chance: random.Random) -> Life:
    """Start a writer and kill it: while it takes over, or somewhere in its work."""
    command = [sys.executable, "-m", "tests.recorder.resuming_victim", str(root), str(seed)]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    seen = bytearray()
    said = process.stderr.readline()
    assert said == b"starting\n", (said + process.stderr.read()).decode()
    if chance.random() < 0.6:
        until = chance.choice((1, 2_000, 100_000, 300_000)) * chance.uniform(0.2, 1)
        while len(seen) < until:
            more = os.read(process.stdout.fileno(), 65536)
            assert more, process.stderr.read().decode()
            seen += more
        time.sleep(chance.uniform(0, 0.003))
    else:
        time.sleep(chance.uniform(0, 0.04))
    process.kill()
    rest, began = process.communicate()
    return Life(int(began) if began else None, bytes(seen + rest))


async def lived(root: Path, seed: int, lives: int) -> Manifest:
    """A recording of `lives` writers that were killed, and one that was not."""
    keys, signer = LocalKeyFile.create(root / "keys"), LocalSigner.create(root / "signing.pem")
    chance = random.Random(seed)
    reached = 0
    for _ in range(lives):
        life = live_once(root, seed, chance)
        if life.began is not None:
            assert life.began >= reached  # all that was passed on is in the recording
            assert life.began - reached <= 3000  # and at most one chunk that was not
            assert life.passed_on == stream(seed, life.began, len(life.passed_on))
            reached = life.began + len(life.passed_on)
    recorder = recorder_in(root)
    session_id = session_of(seed).session_id
    recovery = await recorder.start(hold=frozenset({session_id}))
    recording = await (recorder.resume(session_id) if recovery.held else recorder.open(session_of(seed)))
    assert 0 <= recording.recorded - reached <= 3000
    recording.output(stream(seed, recording.recorded, 500), recording.recorded)
    manifest = await recording.close("logout")
    await recorder.stop()
    assert not list(root.glob("spool/*/s-*"))
    await check(root, seed, manifest, keys, signer)
    return manifest


async def check(root: Path, seed: int, manifest: Manifest, keys: LocalKeyFile, signer: LocalSigner) -> None:
    store = LocalFolder(root / "objects")
    context = encryption_context(session_of(seed))
    data = await store.get(manifest_name(manifest.prefix, manifest.epochs[-1].epoch))
    checked = await verify(data, store, [signer.public_key], opening=Opening(keys, context))
    assert checked.findings == ()
    assert manifest.gaps == ()
    playback = await Playback.open(manifest, store, keys, context)
    recorded = b"".join([chunk async for chunk in raw_output(playback)])
    assert recorded == stream(seed, 0, manifest.bytes_out)
    events = [event async for event in playback.events() if event.kind is Kind.OUTPUT]
    assert [event.offset for event in events[1:]] == [event.offset + len(event.payload) for event in events[:-1]]
    assert all(one.time_us <= two.time_us for one, two in itertools.pairwise(events))


@pytest.mark.rule("R27")
async def test_kill_9_through_many_epochs_repeats_nothing_and_loses_nothing(tmp_path: Path) -> None:
    epochs = 0
    for seed in range(1, 4):
        root = tmp_path / str(seed)
        root.mkdir()
        epochs += len((await lived(root, seed, 5)).epochs)
    assert epochs >= 9


def main(times: int) -> None:
    epochs = 0
    for seed in range(1, times + 1):
        with tempfile.TemporaryDirectory() as folder:
            epochs += len(asyncio.run(lived(Path(folder), seed, 5)).epochs)
    print(f"{times * 5} kills, {times} recordings of {epochs} epochs: every byte once, every one verified")


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""What tests of recordings that go on have in common: session 1 begins, its writer goes, another one holds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recorder import canonical
from recorder.exporting import raw_output
from recorder.model import Manifest, encryption_context
from recorder.playback import Playback
from recorder.recording import Recording
from recorder.service import Recorder
from recorder.spool import SessionFolder
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session

ID = session().session_id
HELD = frozenset({ID})


async def begun(rig: Rig, **changes: Any) -> Recording:
    recorder = rig.recorder(segment_bytes=500)
    await recorder.start()
    return await recorder.open(session(**changes))


async def reborn(rig: Rig, recording: Recording | None = None, **changes: Any) -> Recorder:
    """The writer is gone as by a kill; another one starts and holds the session."""
    if recording is not None:
        recording.suspend()
    await rig.started[-1].stop(timeout=0)
    recorder = rig.recorder(segment_bytes=500, **changes)
    recovery = await recorder.start(hold=HELD)
    assert (recovery.finished, recovery.quarantined, recovery.waiting) == ((), (), ())
    assert recovery.held == (ID,)
    assert recorder.held == HELD
    return recorder


async def given_up(rig: Rig, recording: Recording) -> Manifest:
    recorder = await reborn(rig, recording)
    await recorder.give_up(ID)
    (manifest,) = rig.ears.manifests
    return manifest


def lines(first: int, last: int) -> bytes:
    return b"".join(b"%099d\n" % number for number in range(first, last))


def write(recording: Recording, first: int, last: int) -> None:
    for number in range(first, last):
        recording.output(b"%099d\n" % number, number * 100)


async def played(rig: Rig, manifest: Manifest, **changes: Any) -> Playback:
    return await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()), **changes)


async def output_of(rig: Rig, manifest: Manifest) -> bytes:
    return b"".join([chunk async for chunk in raw_output(await played(rig, manifest))])


async def check(rig: Rig, manifest: Manifest) -> None:
    """Everything that can be verified holds, and nothing is left to do."""
    opening = Opening(rig.keys, encryption_context(session()))
    found = await verify(await rig.manifest_file(manifest), rig.store, rig.public_keys, opening=opening)
    assert found.findings == ()
    assert found.manifest == manifest
    assert rig.left_in_spool() == []


def lose_power(rig: Rig) -> None:
    folder = SessionFolder(next(rig.spool.glob("w-*/s-*")))
    (folder.path / "head.json").write_bytes(canonical.dump(replace(folder.head(), boot_id="another")))


def head_of(rig: Rig) -> Any:
    return SessionFolder(next(rig.spool.glob("w-*/s-*"))).head()

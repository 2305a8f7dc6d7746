"""A recording that goes on after its writer died: one chain, one time, one manifest, a key for each epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recorder import canonical
from recorder.errors import KeyRefused, KeyUnavailable, RecordingFailed, RepeatedOffset
from recorder.events import resize_of
from recorder.exporting import asciicast, plain_text, raw_output
from recorder.manifest import sign_manifest
from recorder.model import Durability, Epoch, Kind, Manifest, Stream, encryption_context
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.recording import Recording
from recorder.recovery import INTERRUPTED, POWER_LOSS
from recorder.service import Recorder
from recorder.spool import SessionFolder
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session
from tests.recorder.test_recording import Flaky, until

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


@pytest.mark.rule("R27")
async def test_a_held_recording_goes_on_where_it_was(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 12)
    recording.stderr(b"oops", 0)
    recording.input(b"ls\n", 0)
    recording.resize(100, 40)
    recorder = await reborn(rig, recording)

    recording = await recorder.resume(ID)

    assert recorder.held == frozenset()
    assert (recording.recorded, recording.recorded_output, recording.recorded_stderr) == (1204, 1200, 4)
    assert (recording.recorded_input, recording.input_ended) == (3, False)
    assert (recording.exited, recording.ended) == (False, False)
    with pytest.raises(RepeatedOffset):
        recording.output(b"x", 1199)
    write(recording, 12, 20)
    manifest = await recording.close("logout")
    assert [epoch.epoch for epoch in manifest.epochs] == [1, 2]
    assert (manifest.ended, manifest.recovered, manifest.gaps) == ("logout", False, ())
    assert (manifest.bytes_out, manifest.bytes_stderr, manifest.bytes_in) == (2000, 4, 3)
    assert await output_of(rig, manifest) == lines(0, 20)
    assert rig.ears.manifests == [manifest]
    await check(rig, manifest)

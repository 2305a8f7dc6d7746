"""Under STORE a recording goes on without the spool of its writer, from what the store has; the gap is told."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from recorder.errors import RecordingFailed
from recorder.exporting import raw_output
from recorder.model import Durability, Manifest, encryption_context
from recorder.playback import Playback
from recorder.recording import Recording
from recorder.recovery import INTERRUPTED, LOST_SPOOL
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session

pytestmark = pytest.mark.rule("R27")
SESSION = session().session_id


async def stored(recording: Recording) -> None:
    recording.hand_over()
    async with asyncio.timeout(30):
        while recording.secured != recording.recorded:
            await asyncio.sleep(0.005)


async def output_of(rig: Rig, manifest: Manifest) -> bytes:
    context = encryption_context(session())
    found = await verify(
        await rig.manifest_file(manifest), rig.store, rig.public_keys, opening=Opening(rig.keys, context)
    )
    assert found.findings == ()
    playback = await Playback.open(manifest, rig.store, rig.keys, context)
    return b"".join([chunk async for chunk in raw_output(playback)])


@pytest.fixture
async def recording(rig: Rig) -> Recording:
    """Its recording has two segments in the store, and eight bytes that are in the spool alone."""
    recorder = rig.recorder(durability=Durability.STORE)
    await recorder.start()
    recording = await recorder.open(session())
    recording._segment_seconds = 3600.0  # what is in the spool alone stays there, however slow a test is
    for text in (b"first ", b"second "):
        recording.output(text, recording.recorded_output)
        await stored(recording)
    recording.output(b"unstored", 13)
    return recording


def lose(rig: Rig) -> None:
    """The disk is gone. Its files stay open to a writer that still lives."""
    shutil.rmtree(rig.spool)


async def test_another_recorder_goes_on_where_the_store_ends(rig: Rig, recording: Recording) -> None:
    head = recording.head
    assert head is not None
    recording.abandon()
    lose(rig)
    heir = rig.recorder(durability=Durability.STORE)
    await heir.start()
    await heir.take_over(head)
    assert heir.held == {SESSION}
    again = await heir.resume(SESSION)
    assert (again.recorded_output, again.epoch) == (13, 2)
    again.output(b"unstored", 13)  # the node says it again
    manifest = await again.close("exit")
    assert await output_of(rig, manifest) == b"first second unstored"
    assert [gap.reason for gap in manifest.gaps] == [LOST_SPOOL]
    assert rig.left_in_spool() == []


async def test_a_writer_that_wakes_after_that_is_refused_and_spoils_nothing(
    rig: Rig, recording: Recording
) -> None:
    assert recording.head is not None
    there, rig.spool = rig.spool, rig.root / "another spool"
    heir = rig.recorder(durability=Durability.STORE)
    await heir.start()
    await heir.take_over(recording.head)
    again = await heir.resume(SESSION)
    recording.output(b", and more", 21)
    with pytest.raises(RecordingFailed, match="holds other events"):
        await recording.close("exit")
    again.output(b"unstored", 13)
    assert await output_of(rig, await again.close("exit")) == b"first second unstored"
    assert list((there / "quarantine").iterdir())


async def test_what_was_taken_over_is_taken_over_again_after_a_kill(rig: Rig, recording: Recording) -> None:
    head = recording.head
    assert head is not None
    recording.abandon()
    lose(rig)
    killed = rig.recorder(durability=Durability.STORE)
    await killed.start()
    await killed.take_over(head)
    await killed.stop(timeout=0)
    heir = rig.recorder(durability=Durability.STORE)
    assert (await heir.start(hold=frozenset({SESSION}))).held == (SESSION,)
    await heir.give_up(SESSION)
    (manifest,) = rig.ears.manifests
    assert manifest.ended == INTERRUPTED
    assert [gap.reason for gap in manifest.gaps] == [LOST_SPOOL]
    assert await output_of(rig, manifest) == b"first second "


async def test_what_is_not_lost_is_not_taken_over(rig: Rig, recording: Recording) -> None:
    assert recording.head is not None
    with pytest.raises(RecordingFailed, match="is not one that is lost"):
        await rig.started[0].take_over(recording.head)
    with pytest.raises(RecordingFailed, match="cannot be taken over"):
        await rig.started[0].take_over(b"{}")
    await recording.close("exit")
    other = rig.recorder(durability=Durability.SYNC)
    await other.start()
    assert (await other.open(session(2))).head is None

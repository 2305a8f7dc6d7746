"""A spool with little room: who prints much waits, nobody begins, and nothing that was taken is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from recorder.errors import RecordingFailed
from recorder.exporting import raw_output
from recorder.model import Manifest, encryption_context
from recorder.playback import Playback
from recorder.recording import Recording
from recorder.room import Quota, Room
from tests.recorder.conftest import Flaky, Rig, session

pytestmark = pytest.mark.rule("R27")
SIZE = 128 * 1024
AWAY = 10**9
CHUNK = b"0123456789abcdef" * 64


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def fill(recording: Recording, chunks: int) -> int:
    for _ in range(chunks):
        recording.output(CHUNK, recording.recorded_output)
    return recording.recorded_output


async def played(rig: Rig, manifest: Manifest) -> int:
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(manifest.session))
    return len(b"".join([chunk async for chunk in raw_output(playback)]))


async def test_who_fills_the_spool_is_held_back_until_it_drains(rig: Rig, flaky: Flaky) -> None:
    flaky.left = AWAY
    recorder = rig.recorder(quota=Quota(SIZE), segment_bytes=8192)
    await recorder.start()
    loud, quiet = await recorder.open(session(1)), await recorder.open(session(2))
    quiet.output(b"$ ", 0)
    fill(loud, 80)
    assert not loud.is_held_back
    fill(loud, 25)
    assert loud.is_held_back
    assert not quiet.is_held_back
    quiet.output(b"ls", 2)
    with pytest.raises(RecordingFailed, match=r"the spool is nearly full: .* of its disk are free"):
        await recorder.open(session(3))
    flaky.left = 0
    await until(lambda: loud.spooled < 8192, "what makes a part to be stored")
    assert not recorder.room.is_crowded
    assert not loud.is_held_back
    said = fill(loud, 25)
    third = await recorder.open(session(3))
    for recording, size in ((loud, said), (quiet, 4), (third, 0)):
        assert await played(rig, await recording.close("exit")) == size
    assert rig.left_in_spool() == []


async def test_a_full_spool_ends_who_writes_and_keeps_what_it_has(rig: Rig, flaky: Flaky) -> None:
    flaky.left = AWAY
    recorder = rig.recorder(quota=Quota(SIZE), segment_bytes=8192)
    await recorder.start()
    loud = await recorder.open(session(1))
    with pytest.raises(RecordingFailed, match="the spool is full"):
        fill(loud, 1000)
    said = loud.recorded_output
    assert SIZE - 8192 < said < SIZE
    assert loud.failure is not None
    assert "full" in loud.failure
    await recorder.stop(timeout=0)
    # What waits counts for the next process, too; nothing of it was removed to make room.
    again = rig.recorder(quota=Quota(SIZE))
    assert (await again.start()).waiting == (session(1).session_id,)
    assert again.room.is_crowded
    await again.stop(timeout=0)
    flaky.left = 0
    (manifest,) = (await rig.recorder(quota=Quota(SIZE)).start()).finished
    assert await played(rig, manifest) == said


async def test_who_was_held_back_for_too_long_is_ended(rig: Rig, flaky: Flaky) -> None:
    flaky.left = AWAY
    recorder = rig.recorder(quota=Quota(SIZE, patience_seconds=60), segment_bytes=8192)
    await recorder.start()
    loud, quiet = await recorder.open(session(1)), await recorder.open(session(2))
    quiet.output(b"$ ", 0)
    said = fill(loud, 105)
    await until(lambda: recorder._held_back, "the look at who is held back")
    assert loud.failure is None
    rig.ticks.pass_seconds(59)
    recorder._relieve()
    assert loud.failure is None
    rig.ticks.pass_seconds(1)
    recorder._relieve()
    assert loud.failure is not None
    assert "nearly full" in loud.failure
    assert "for 60 seconds" in loud.failure
    assert quiet.failure is None
    flaky.left = 0
    assert await played(rig, await loud.close("recording failed")) == said
    await quiet.close("exit")


async def test_what_is_held_back_is_stored_although_its_part_is_young(rig: Rig) -> None:
    recorder = rig.recorder(quota=Quota(SIZE))
    await recorder.start()
    loud = await recorder.open(session(1))
    fill(loud, 105)
    assert loud.is_held_back
    await until(lambda: not loud.is_held_back, "its part to be stored long before it is full or a minute old")
    await loud.close("exit")


async def test_what_must_stay_free_on_the_disk_counts_as_well(rig: Rig) -> None:
    recorder = rig.recorder(quota=Quota(free=1 << 60))
    await recorder.start()
    with pytest.raises(RecordingFailed, match="the spool is full"):
        await recorder.open(session())


async def test_everything_in_the_spool_counts_whoever_left_it(rig: Rig) -> None:
    (rig.spool / "quarantine" / "s-1-2").mkdir(parents=True)
    (rig.spool / "quarantine" / "s-1-2" / "000000.journal").write_bytes(bytes(70_000))
    (rig.spool / "w-another").mkdir()
    (rig.spool / "w-another" / "000000.journal").write_bytes(bytes(50_000))
    room = Room(rig.spool, Quota(SIZE))
    await room.measure()
    assert room.used == 120_000
    assert room.left == SIZE - 120_000
    assert room.is_crowded


async def test_what_is_written_while_the_disk_is_looked_at_counts(rig: Rig) -> None:
    rig.spool.mkdir()
    room = Room(rig.spool, Quota(SIZE))
    looking = asyncio.create_task(room.measure())
    await asyncio.sleep(0)
    room.take(1000)
    await looking
    assert room.left == SIZE - 1000


def test_a_spool_stays_crowded_until_there_is_clearly_more_room(rig: Rig) -> None:
    room = Room(rig.spool, Quota(SIZE))
    room.take(SIZE - room.reserve + 1)
    assert room.is_crowded
    room.give(2)
    assert room.is_crowded
    room.give(room.reserve)
    assert not room.is_crowded

"""A recorder on S3 whose store fails in every way: how many bytes are lost. The answer is always none."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.errors import RecordingFailed
from recorder.exporting import raw_output
from recorder.model import Manifest, encryption_context
from recorder.object_stores.s3 import S3Store
from recorder.playback import Playback
from recorder.verification import Opening, verify
from tests.aws.making import BRIEF, new_store, s3_client
from tests.aws.trouble import (
    Answer,
    Ask,
    Call,
    Trouble,
    Troubled,
    another_receipt,
    hang,
    none,
    nothing_stored,
    refused,
    reset,
    slow_down,
    stored_but_reset,
)
from tests.recorder.conftest import Rig, session

LINE = b"%099d\n"
LINES = 40
SAID = b"".join(LINE % number for number in range(LINES))


@pytest.fixture
async def patient(troubled_moto: Troubled) -> AsyncIterator[S3Store]:
    """For what is not tried again: however slow the machine is, that is no trouble."""
    async with new_store(troubled_moto.url) as store:
        await store.examine()
        yield store


@pytest.fixture
async def stored(rig: Rig, patient: S3Store, troubled_moto: Troubled) -> AsyncIterator[Rig]:
    patience = replace(BRIEF, silence_seconds=0.5, total_seconds=1)
    async with s3_client(troubled_moto.url, patience) as client:
        rig.store = S3Store(client, patient.bucket)
        yield rig
        for recorder in rig.started:
            await recorder.stop(timeout=0)


async def lost_bytes(rig: Rig, manifest: Manifest, what: str) -> int:
    """Verifies, plays, counts what is not there, and prints it."""
    context = encryption_context(session())
    found = await verify(
        await rig.manifest_file(manifest), rig.store, rig.public_keys, opening=Opening(rig.keys, context)
    )
    assert found.findings == ()
    playback = await Playback.open(manifest, rig.store, rig.keys, context)
    output = b"".join([chunk async for chunk in raw_output(playback)])
    assert SAID.startswith(output)
    lost = len(SAID) - len(output)
    print(f"{what}: {lost} of {len(SAID)} bytes lost")
    return lost


TROUBLES = [hang, reset, stored_but_reset, slow_down, refused, another_receipt, nothing_stored]


def seldom(trouble: Trouble) -> Trouble:
    """Every third put goes wrong."""
    puts = itertools.count()

    def sorted_out(call: Call, ask: Ask) -> Answer:
        return trouble(call, ask) if call.method == "PUT" and next(puts) % 3 == 0 else ask()

    return sorted_out


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.__name__)
async def test_a_store_in_trouble_while_a_session_runs(
    stored: Rig, patient: S3Store, troubled_moto: Troubled, trouble: Trouble
) -> None:
    troubled_moto.trouble = seldom(trouble)
    recorder = stored.recorder(segment_bytes=1000)
    await recorder.start()
    recording = await recorder.open(session())
    for number in range(LINES):
        recording.output(LINE % number, number * len(LINE % 0))
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        manifest = await recording.close("exit")
    stored.store = patient
    assert await lost_bytes(stored, manifest, trouble.__name__) == 0
    assert stored.left_in_spool() == []


@pytest.mark.parametrize("trouble", [hang, slow_down, refused], ids=lambda each: each.__name__)
async def test_a_store_down_at_close_and_the_next_start_finishes(
    stored: Rig, patient: S3Store, troubled_moto: Troubled, trouble: Trouble
) -> None:
    recorder = stored.recorder(segment_bytes=1000)
    await recorder.start()
    recording = await recorder.open(session())
    for number in range(LINES):
        recording.output(LINE % number, number * len(LINE % 0))
    troubled_moto.trouble = trouble
    closing = asyncio.create_task(recording.close("exit"))
    async with asyncio.timeout(30):
        while not stored.ears.waits:
            await asyncio.sleep(0.01)
    await recorder.stop(timeout=0)
    with pytest.raises(RecordingFailed, match="next start"):
        await closing
    again = stored.recorder()
    assert (await again.start()).waiting == (session().session_id,)
    await again.stop()
    troubled_moto.trouble, stored.store = none, patient
    (manifest,) = (await stored.recorder().start()).finished
    assert await lost_bytes(stored, manifest, f"{trouble.__name__} at close") == 0
    assert manifest.ended == "exit"


async def test_what_a_store_damaged_is_set_aside_whole_and_finished_once_that_is_cured(
    stored: Rig, patient: S3Store, troubled_moto: Troubled
) -> None:
    stored.store = patient

    def damaging(call: Call, ask: Ask) -> Answer:
        if call.method == "PUT" and call.path.endswith("000000.seg"):
            call.body = call.body[:-1] + bytes([call.body[-1] ^ 1])
        return ask()

    troubled_moto.trouble = damaging
    recorder = stored.recorder(segment_bytes=1000)
    await recorder.start()
    recording = await recorder.open(session())
    other = await recorder.open(session(2))
    for number in range(LINES):
        recording.output(LINE % number, number * len(LINE % 0))
    with pytest.raises(RecordingFailed):
        await recording.close("exit")
    troubled_moto.trouble = none
    other.output(b"not held up", 0)
    assert (await other.close("exit")).bytes_out == 11
    await recorder.stop()
    # As docs/recording-format.md says: cure the reason, move the spool back, start again.
    (aside,) = stored.ears.aside
    damaged = [each.name async for each in stored.store.list("") if each.name.endswith("000000.seg")]
    for name in damaged:
        if session().session_id in name:
            await stored.store.delete(name)
    back = stored.spool / "w-0000000000000000" / session().session_id
    await asyncio.to_thread(back.parent.mkdir)
    await asyncio.to_thread(shutil.move, Path(aside.path), back)
    await asyncio.to_thread((back / "reason.txt").unlink, missing_ok=True)
    (manifest,) = (await stored.recorder().start()).finished
    assert await lost_bytes(stored, manifest, "a damaging store") == 0

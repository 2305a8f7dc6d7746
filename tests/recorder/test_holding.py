"""Who may go on with a recording, and what becomes of it when nobody does, or something is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recorder.errors import KeyUnavailable, RecordingFailed
from recorder.recording import Recording
from recorder.recovery import INTERRUPTED
from recorder.spool import SessionFolder
from tests.recorder.conftest import Flaky, Rig, session
from tests.recorder.epochs import (
    HELD,
    ID,
    begun,
    check,
    given_up,
    head_of,
    lines,
    output_of,
    reborn,
    write,
)
from tests.recorder.test_recording import until


async def test_it_may_be_held_again_and_again(rig: Rig, flaky: Flaky) -> None:
    flaky.left = 10**9
    recording = await begun(rig)
    write(recording, 0, 12)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    for times in range(3):
        await reborn(rig)
        assert len(rig.ears.waits) == times + 1  # the store is away: said, and held all the same
    flaky.left = 0
    for _ in range(3):
        await reborn(rig)
    recording = await (await reborn(rig)).resume(ID)
    write(recording, 12, 13)
    manifest = await recording.close("logout")
    assert [epoch.epoch for epoch in manifest.epochs] == [1, 2]
    assert await output_of(rig, manifest) == lines(0, 13)
    await check(rig, manifest)


async def test_a_store_that_is_away_refuses_the_resume_and_keeps_the_session(rig: Rig, flaky: Flaky) -> None:
    flaky.left = 10**9
    recording = await begun(rig)
    write(recording, 0, 12)
    recorder = await reborn(rig, recording)
    for _ in range(2):
        with pytest.raises(RecordingFailed, match="the store is away"):
            await recorder.resume(ID)
        assert recorder.held == HELD
    flaky.left = 0
    recording = await recorder.resume(ID)
    assert recording.recorded == 1200
    await check(rig, await recording.close("logout"))


@pytest.mark.parametrize("call", ["unwrap", "generate_data_key"])
async def test_keys_that_are_away_refuse_the_resume_and_keep_the_session(
    rig: Rig, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await begun(rig)
    write(recording, 0, 12)
    recorder = await reborn(rig, recording)

    async def away(*_: Any) -> Any:
        raise KeyUnavailable("the key service is away")

    with monkeypatch.context() as patched:
        patched.setattr(rig.keys, call, away)
        with pytest.raises(RecordingFailed, match="the key service is away"):
            await recorder.resume(ID)
    assert recorder.held == HELD
    recording = await recorder.resume(ID)
    write(recording, 12, 13)
    manifest = await recording.close("logout")
    assert await output_of(rig, manifest) == lines(0, 13)
    await check(rig, manifest)


async def test_a_disk_that_is_full_refuses_the_resume_and_keeps_the_session(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recorder = await reborn(rig, recording)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for step in ("_write_durably", "remove"):
        with monkeypatch.context() as patched:
            patched.setattr(SessionFolder, step, full)
            with pytest.raises(RecordingFailed, match=r"No space|already"):
                await recorder.resume(ID)
        assert recorder.held == HELD
    recorder = await reborn(rig)  # both folders are there, for neither could be removed: the higher epoch counts
    manifest = await (await recorder.resume(ID)).close("logout")
    assert await output_of(rig, manifest) == lines(0, 3)
    assert [epoch.epoch for epoch in manifest.epochs] == [1, 2, 3]
    await check(rig, manifest)


async def test_what_is_not_held_is_not_resumed(rig: Rig) -> None:
    recorder = rig.recorder()
    with pytest.raises(RecordingFailed, match="could go on"):
        await recorder.resume(ID)
    recording = await begun(rig)
    recorder = rig.started[-1]
    with pytest.raises(RecordingFailed, match="could go on"):
        await recorder.resume(ID)  # it lives
    await recording.close("logout")
    with pytest.raises(RecordingFailed, match="could go on"):
        await recorder.resume(ID)  # it is finished
    await recorder.give_up(ID)  # and this is no error
    assert recorder.held == frozenset()


async def test_one_takes_it_and_no_other(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recorder = await reborn(rig, recording)
    with pytest.raises(RecordingFailed, match="already"):
        await recorder.open(session())
    one, two = await asyncio.gather(recorder.resume(ID), recorder.resume(ID), return_exceptions=True)
    assert isinstance(one, Recording)
    assert isinstance(two, RecordingFailed)
    await recorder.give_up(ID)
    write(one, 3, 4)
    await check(rig, await one.close("logout"))


async def test_a_resume_that_nobody_waits_for_is_there_for_the_next(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recorder = await reborn(rig, recording)
    for turns in range(12):
        asked = asyncio.ensure_future(recorder.resume(ID))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not asked.cancel():  # on a machine that is slow to give turns it has come about
            break
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert recorder.held == HELD
    recording = await (recorder.resume(ID) if asked.cancelled() else asked)
    manifest = await recording.close("logout")
    assert [epoch.epoch for epoch in manifest.epochs] == [1, 2]
    await check(rig, manifest)


def is_in_epoch(rig: Rig, number: int) -> bool:
    """The folder is moved just then: what is not there, or there twice, is not yet."""
    try:
        heads = len(list(rig.spool.glob("w-*/s-*/head.json")))
        return heads == 1 and getattr(head_of(rig), "epoch", 0) == number
    except (OSError, ValueError, StopIteration):
        return False


@pytest.mark.parametrize("then", ["stop", "give up"])
async def test_a_resume_that_nobody_waited_for_is_not_forgotten(rig: Rig, then: str) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recorder = await reborn(rig, recording)
    asked = asyncio.ensure_future(recorder.resume(ID))
    await asyncio.sleep(0)
    asked.cancel()
    await until(lambda: is_in_epoch(rig, 2))
    if then == "give up":
        await recorder.give_up(ID)
    else:
        await given_up(rig, recording)
    (manifest,) = rig.ears.manifests
    assert (manifest.ended, len(manifest.epochs)) == (INTERRUPTED, 2)
    assert await output_of(rig, manifest) == lines(0, 3)
    await check(rig, manifest)


async def test_a_recording_that_is_given_up_ends_as_if_it_had_not_been_held(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 12)
    recorder = await reborn(rig, recording)
    await asyncio.gather(recorder.give_up(ID), recorder.give_up(ID))
    assert recorder.held == frozenset()
    (manifest,) = rig.ears.manifests
    assert (manifest.ended, manifest.recovered, manifest.gaps) == (INTERRUPTED, True, ())
    assert await output_of(rig, manifest) == lines(0, 12)
    with pytest.raises(RecordingFailed, match="could go on"):
        await recorder.resume(ID)
    await check(rig, manifest)


async def test_what_is_given_up_while_the_store_is_away_is_finished_later(rig: Rig, flaky: Flaky) -> None:
    flaky.left = 10**9
    recording = await begun(rig)
    write(recording, 0, 12)
    recorder = await reborn(rig, recording)
    await recorder.give_up(ID)
    assert recorder.held == frozenset()
    with pytest.raises(RecordingFailed, match="could go on"):
        await recorder.resume(ID)
    assert (await recorder._recover()).waiting == (ID,)
    flaky.left = 0
    (manifest,) = (await recorder._recover()).finished
    await check(rig, manifest)


@pytest.mark.parametrize("asked", ["ended by its writer", "ended by a recovery that was killed"])
async def test_what_had_ended_is_finished_and_not_held(rig: Rig, flaky: Flaky, asked: str) -> None:
    recording = await begun(rig)
    write(recording, 0, 5)
    if asked == "ended by its writer":
        flaky.left = 10**9
        closing = asyncio.ensure_future(recording.close("logout"))
        await asyncio.sleep(0)
        recording.suspend()  # too late for that
        await rig.started[-1].stop(timeout=0)
        with pytest.raises(RecordingFailed, match="next start"):
            await closing
        flaky.left = 0
    else:
        recorder = await reborn(rig, recording)
        folder = SessionFolder(next(rig.spool.glob("w-*/s-*")))
        noted = (folder.path / "stored.jsonl").read_bytes()
        rig.signer, kept = Unsigned(), rig.signer  # type: ignore[assignment]  # as good as killed, once END is stored
        recorder = await reborn(rig)
        await recorder.give_up(ID)
        await recorder.stop()
        rig.signer = kept
        (folder.path / "stored.jsonl").write_bytes(noted)  # killed before it could write down that END is stored
    recovery = await rig.recorder().start(hold=HELD)
    (manifest,) = recovery.finished
    assert recovery.held == ()
    assert manifest.ended == ("logout" if asked == "ended by its writer" else INTERRUPTED)
    assert manifest.recovered is (asked != "ended by its writer")
    await check(rig, manifest)


class Unsigned:
    """A signer that is away."""

    key_id = ""
    public_key = b""

    async def sign(self, message: bytes) -> bytes:
        raise KeyUnavailable("the signer is away")


async def test_hold_may_be_a_question(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    for number in (1, 2, 3):
        (await recorder.open(session(number))).output(b"x", 0)
    for recording in list(recorder._live.values()):
        recording.suspend()
    await recorder.stop()
    recorder = rig.recorder()
    recovery = await recorder.start(hold=lambda asked: asked != session(2).session_id)
    assert recovery.held == (session(1).session_id, session(3).session_id)
    assert [manifest.session.session_id for manifest in recovery.finished] == [session(2).session_id]


async def test_what_is_suspended_takes_no_more_and_has_not_failed(rig: Rig) -> None:
    recording = await begun(rig)
    recorder = rig.started[-1]
    other = await recorder.open(session(2))
    recording.output(b"a", 0)
    recording.suspend()
    recording.suspend()
    with pytest.raises(RecordingFailed, match="suspended"):
        recording.output(b"b", 1)
    with pytest.raises(RecordingFailed, match="suspended"):
        await recording.durable()
    with pytest.raises(RecordingFailed, match="next start"):
        await recording.close("logout")
    await recorder._sync.wait()
    assert recording.failure is None
    assert not recording.ended
    other.output(b"z", 0)
    await recorder.stop()
    assert [manifest.ended for manifest in rig.ears.manifests] == ["the recorder was stopped"]  # the other one
    recorder = await reborn(rig)
    manifest = await (await recorder.resume(ID)).close("logout")
    assert await output_of(rig, manifest) == b"a"


async def test_a_spool_that_cannot_be_read_is_set_aside_and_not_held(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recorder = await reborn(rig, recording)
    (next(rig.spool.glob("w-*/s-*")) / "head.json").write_bytes(b"{")
    with pytest.raises(RecordingFailed, match="set aside"):
        await recorder.resume(ID)
    assert recorder.held == frozenset()
    assert [spool.session_id for spool in rig.ears.aside] == [ID]
    assert (await rig.recorder().start(hold=HELD)).held == ()

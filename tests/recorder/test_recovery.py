"""What a dead writer left is finished, whatever it left and wherever the finishing itself dies."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder import canonical
from recorder.errors import KeyUnavailable
from recorder.events import Batch, Tally
from recorder.exporting import raw_output
from recorder.model import (
    GENESIS,
    Durability,
    Kind,
    Manifest,
    encryption_context,
    prefix_of,
    segment_name,
)
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.recording import Recording
from recorder.recovery import INTERRUPTED, LOST_PART, POWER_LOSS, TORN_PART, Finisher
from recorder.segment import Place, seal_segment
from recorder.spool import SessionFolder
from recorder.verification import Opening, verify
from tests.recorder.conftest import Flaky, Rig, session
from tests.recorder.test_recording import until


async def die(rig: Rig, recording: Recording) -> SessionFolder:
    """What a kill leaves: the recorder forgets everything, its lock goes, the files stay."""
    recorder = rig.started[-1]
    recording.abandon()
    await recorder.stop(timeout=0)
    return SessionFolder(next(rig.spool.glob("w-*/s-*")))


async def begun(rig: Rig, **changes: Any) -> Recording:
    recorder = rig.recorder(segment_bytes=500, **changes)
    await recorder.start()
    return await recorder.open(session())


async def output_of(rig: Rig, manifest: Manifest) -> bytes:
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    return b"".join([chunk async for chunk in raw_output(playback)])


async def intact(rig: Rig, manifest: Manifest) -> bool:
    opening = Opening(rig.keys, encryption_context(session()))
    found = await verify(await rig.manifest_file(manifest), rig.store, rig.public_keys, opening=opening)
    assert found.findings == ()
    return found.intact


async def test_an_interrupted_recording_is_finished_at_the_next_start(rig: Rig) -> None:
    rig.store = flaky = Flaky(rig, 10**9)
    recording = await begun(rig)
    for number in range(20):
        recording.output(b"%099d\n" % number, number * 100)
    rig.ticks.pass_seconds(3)
    recording.resize(100, 40)
    await die(rig, recording)
    flaky.left = 0

    recovery = await rig.recorder().start()

    (manifest,) = recovery.finished
    assert (manifest.ended, manifest.recovered, manifest.gaps) == (INTERRUPTED, True, ())
    assert (manifest.ended_at - manifest.started_at).total_seconds() == 3
    assert await output_of(rig, manifest) == b"".join(b"%099d\n" % n for n in range(20))
    assert await intact(rig, manifest)
    assert rig.left_in_spool() == []
    assert rig.ears.manifests == [manifest]
    assert await rig.recorder().start() == type(recovery)((), (), ())


async def test_a_torn_last_record_is_dropped_without_a_gap(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"delivered", 0)
    recording.output(b"never passed on", 9)
    folder = await die(rig, recording)
    data = folder.part(0).read_bytes()
    folder.part(0).write_bytes(data[:-3])
    (manifest,) = (await rig.recorder().start()).finished
    assert await output_of(rig, manifest) == b"delivered"
    assert manifest.gaps == ()


@pytest.mark.parametrize(("durability", "told"), [(Durability.PROCESS, [POWER_LOSS]), (Durability.SYNC, [])])
async def test_after_a_reboot_the_possible_loss_is_said(rig: Rig, durability: Durability, told: list[str]) -> None:
    recording = await begun(rig, durability=durability)
    recording.output(b"x", 0)
    folder = await die(rig, recording)
    (folder.path / "head.json").write_bytes(canonical.dump(replace(folder.head(), boot_id="another")))
    (manifest,) = (await rig.recorder().start()).finished
    assert [gap.reason for gap in manifest.gaps] == told


async def test_a_part_that_ends_within_a_record_before_others_is_a_gap(rig: Rig) -> None:
    rig.store = flaky = Flaky(rig, 10**9)
    recording = await begun(rig)
    for number in range(12):
        recording.output(b"%099d\n" % number, number * 100)
    folder = await die(rig, recording)
    flaky.left = 0
    data = folder.part(0).read_bytes()
    folder.part(0).write_bytes(data[:-10])
    (manifest,) = (await rig.recorder().start()).finished
    assert (manifest.gaps[0].reason, manifest.gaps[0].lost_bytes) == (TORN_PART, 130)
    assert manifest.gaps[1].lost_bytes == 100
    assert await intact(rig, manifest)


async def test_a_stored_segment_with_other_events_is_not_adopted(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"what was delivered", 0)
    head, data_key = recording.uploader.chain.head, recording.uploader.chain._data_key
    await die(rig, recording)
    other = Batch(Tally(80, 24))
    other.add(Kind.OUTPUT, 0, b"what was not")
    blob, entry = seal_segment(Place(session().session_id, 1, 0, GENESIS), data_key, other)
    name = segment_name(prefix_of(head.session, head.started_at), 1, 0)
    await rig.store.put_if_absent(name, blob, entry.sha256)
    (aside,) = (await rig.recorder().start()).quarantined
    assert "other events" in aside.reason


async def test_a_lost_part_is_a_gap_with_its_place(rig: Rig) -> None:
    rig.store = flaky = Flaky(rig, 10**9)
    recording = await begun(rig)
    for number in range(20):
        recording.output(b"%099d\n" % number, number * 100)
    folder = await die(rig, recording)
    flaky.left = 0
    folder.part(1).unlink()
    (manifest,) = (await rig.recorder().start()).finished
    assert manifest.gaps[0].reason == LOST_PART
    assert manifest.gaps[1].lost_bytes == 500
    assert manifest.bytes_out == 2000
    assert len(await output_of(rig, manifest)) == 1500
    assert await intact(rig, manifest)


@pytest.mark.parametrize("parts", ["some", "none"])
async def test_what_the_store_has_is_found_there_when_the_spool_forgot_it(rig: Rig, parts: str) -> None:
    recording = await begun(rig)
    for number in range(12):
        recording.output(b"%099d\n" % number, number * 100)
    if parts == "none":
        recording._roll()
    await until(lambda: len(list(rig.objects.rglob("*.seg"))) == (3 if parts == "none" else 2))
    folder = await die(rig, recording)
    (folder.path / "stored.jsonl").unlink()
    if parts == "none":
        for number in folder.parts():
            folder.part(number).unlink(missing_ok=True)  # stored just now, it may be going already
    (manifest,) = (await rig.recorder().start()).finished
    assert await output_of(rig, manifest) == b"".join(b"%099d\n" % n for n in range(12))
    assert manifest.gaps == ()
    assert await intact(rig, manifest)


async def test_a_damaged_record_costs_only_itself(rig: Rig) -> None:
    recording = await begun(rig)
    for number in range(3):
        recording.output(b"%d" % number * 10, number * 10)
    folder = await die(rig, recording)
    data = bytearray(folder.part(0).read_bytes())
    data[60] ^= 1
    folder.part(0).write_bytes(data)
    (manifest,) = (await rig.recorder().start()).finished
    assert await output_of(rig, manifest) == b"0" * 10 + b"2" * 10
    assert [gap.lost_bytes for gap in manifest.gaps] == [46, 10]
    assert await intact(rig, manifest)


async def test_a_closed_recording_keeps_how_it_ended(rig: Rig) -> None:
    rig.store = flaky = Flaky(rig, 10**9)
    recording = await begun(rig)
    recording.output(b"x", 0)
    recording.exit(7)
    recorder = rig.started[-1]
    closing = recording.close("logout")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(closing, 0.05)
    await recorder.stop(timeout=0)
    flaky.left = 0
    (manifest,) = (await rig.recorder().start()).finished
    assert (manifest.ended, manifest.exit_status, manifest.recovered) == ("logout", 7, False)


def spoil_key(folder: SessionFolder) -> None:
    head = folder.head()
    wrapped = head.wrapped_key[:-1] + bytes([head.wrapped_key[-1] ^ 1])
    (folder.path / "head.json").write_bytes(canonical.dump(replace(head, wrapped_key=wrapped)))


def swap_session(folder: SessionFolder) -> None:
    head = folder.head()
    other = replace(head.session, request_id="oi-ffffffffffff")
    (folder.path / "head.json").write_bytes(canonical.dump(replace(head, session=other)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder.path / "head.json").write_bytes(b"{"), "not JSON"),
        (lambda folder: (folder.path / "head.json").unlink(), "head.json"),
        (spoil_key, "data key"),
        (swap_session, "data key"),
    ],
)
async def test_an_unreadable_spool_is_set_aside_and_blocks_nobody(
    rig: Rig, damage: Callable[[SessionFolder], None], reason: str
) -> None:
    recorder = rig.recorder()
    await recorder.start()
    broken, fine = await recorder.open(session(1)), await recorder.open(session(2))
    broken.output(b"x", 0)
    fine.output(b"y", 0)
    broken.abandon()
    fine.abandon()
    await recorder.stop(timeout=0)
    damage(SessionFolder(next(rig.spool.glob(f"w-*/{session(1).session_id}"))))

    recovery = await rig.recorder().start()

    (aside,) = recovery.quarantined
    assert aside.session_id == session(1).session_id
    assert reason in aside.reason
    assert Path(aside.path, "reason.txt").read_text().strip() == aside.reason
    assert Path(aside.path, "000000.journal").exists()
    assert rig.ears.aside == [aside]
    assert [m.session.session_id for m in recovery.finished] == [session(2).session_id]


async def test_a_quarantined_spool_can_be_put_back(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"x", 0)
    folder = await die(rig, recording)
    good = (folder.path / "head.json").read_bytes()
    spoil_key(folder)
    (aside,) = (await rig.recorder().start()).quarantined
    Path(aside.path, "head.json").write_bytes(good)
    back = rig.spool / "w-0000000000000000"
    back.mkdir()
    Path(aside.path).rename(back / aside.session_id)
    (manifest,) = (await rig.recorder().start()).finished
    assert await output_of(rig, manifest) == b"x"


async def test_a_key_provider_that_is_away_is_waited_for(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"x", 0)
    await die(rig, recording)
    keys = rig.keys

    class Away:
        away = True
        generate_data_key = keys.generate_data_key

        async def unwrap(self, wrapped: bytes, context: Any) -> bytes:
            if self.away:
                raise KeyUnavailable("the key service is away")
            return await keys.unwrap(wrapped, context)

    rig.keys = away = Away()
    recorder = rig.recorder()
    assert (await recorder.start()).waiting == (session().session_id,)
    assert rig.ears.waits == [(session().session_id, "the key service is away")]
    away.away = False
    (manifest,) = (await recorder._recover()).finished
    assert manifest.bytes_out == 1


async def test_a_living_writer_is_left_alone(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"x", 0)
    recovery = await rig.recorder().start()
    assert (recovery.finished, recovery.quarantined) == ((), ())
    assert (await recording.close("logout")).bytes_out == 1


async def test_a_folder_without_a_head_was_never_used(rig: Rig) -> None:
    recording = await begun(rig)
    folder = await die(rig, recording)
    (folder.path / "head.json").rename(folder.path / "head.json.tmp")
    recovery = await rig.recorder().start()
    assert (recovery.finished, recovery.quarantined) == ((), ())
    assert not folder.path.exists()


class Killed(BaseException):
    """No handler of ours may catch it."""


class Fuse:
    """Burns down by one at each step, and then kills."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class FusedStore(LocalFolder):
    """May die before a put, and after it."""

    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root)
        self._fuse = fuse

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Any:
        self._fuse.burn()
        receipt = await super().put_if_absent(name, data, sha256)
        self._fuse.burn()
        return receipt


class FusedFolder(SessionFolder):
    fuse = Fuse(-1)

    def note_stored(self, line: Any) -> None:
        self.fuse.burn()
        super().note_stored(line)
        self.fuse.burn()

    def remove(self) -> None:
        self.fuse.burn()
        super().remove()


class FusedEars:
    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    async def finished(self, manifest: Manifest, file: bytes) -> None:
        self._fuse.burn()

    async def quarantined(self, spool: Any) -> None:
        raise AssertionError(spool)

    async def waiting(self, session_id: str, reason: str, again_in: float) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize("with_log", [True, False])
async def test_a_recovery_killed_at_any_step_is_finished_by_the_next(rig: Rig, with_log: bool) -> None:
    rig.store = Flaky(rig, 10**9)
    recording = await begun(rig)
    for number in range(12):
        recording.output(b"%099d\n" % number, number * 100)
    folder = await die(rig, recording)
    pristine = rig.root / "pristine"
    shutil.copytree(folder.path, pristine)
    for steps in range(40):
        shutil.rmtree(rig.objects, ignore_errors=True)
        shutil.rmtree(folder.path, ignore_errors=True)
        shutil.copytree(pristine, folder.path)
        fuse = Fuse(steps)
        fused = FusedFolder(folder.path)
        FusedFolder.fuse = fuse
        store = FusedStore(rig.objects, fuse)
        finisher = Finisher(rig.spool, store, rig.keys, rig.signer, rig.public_keys, FusedEars(fuse))
        try:
            first = await finisher.recover(fused)
        except Killed:
            first = None
        rig.store = LocalFolder(rig.objects)
        if not with_log:
            (folder.path / "stored.jsonl").unlink(missing_ok=True)
        if first is None:
            fuse.left = -1
            first = await finisher.recover(SessionFolder(folder.path))
        else:
            assert steps > 15
            break
        assert isinstance(first, Manifest)
        assert await output_of(rig, first) == b"".join(b"%099d\n" % n for n in range(12))
        assert await intact(rig, first)
        assert first.ended == INTERRUPTED
    else:
        pytest.fail("it never came to its end")

"""A recording that goes on after its writer died: one chain, one time, one manifest, a key for each epoch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from recorder import canonical
from recorder.errors import KeyRefused, RepeatedOffset
from recorder.events import resize_of
from recorder.exporting import asciicast, plain_text
from recorder.model import Durability, Kind, Purpose, Stream, encryption_context, key_context
from recorder.recovery import POWER_LOSS
from recorder.spool import SessionFolder
from tests.recorder.conftest import Flaky, Rig, session
from tests.recorder.epochs import (
    ID,
    begun,
    check,
    given_up,
    lines,
    lose_power,
    output_of,
    played,
    reborn,
    write,
)
from tests.recorder.test_format import outsider


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


@pytest.mark.rule("R27")
async def test_every_epoch_has_a_data_key_of_its_own(rig: Rig) -> None:
    recording = await begun(rig, record_input_content=True)
    for epoch in range(3):
        write(recording, epoch * 10, epoch * 10 + 10)
        recording.input(b"word%d " % epoch, epoch * 6)
        recorder = await reborn(rig, recording)
        recording = await recorder.resume(ID)
    manifest = await recording.close("logout")

    assert [len(epoch.segments) > 0 for epoch in manifest.epochs] == [True] * 4
    context = encryption_context(session())
    opened = set()
    for each in manifest.epochs:
        assert each.wrapped_input_key is not None
        opened.add(await rig.keys.unwrap(each.wrapped_key, key_context(context, each.epoch, Purpose.RECORDING)))
        opened.add(await rig.keys.unwrap(each.wrapped_input_key, key_context(context, each.epoch, Purpose.INPUT)))
        for other in {1, 2, 3, 4} - {each.epoch}:
            with pytest.raises(KeyRefused):
                await rig.keys.unwrap(each.wrapped_key, key_context(context, other, Purpose.RECORDING))
    assert len(opened) == 8
    events = [event async for event in (await played(rig, manifest, with_input=True)).events()]
    assert b"".join(e.payload for e in events if e.kind is Kind.INPUT_CONTENT) == b"word0 word1 word2 "
    await check(rig, manifest)


async def test_the_key_is_wrapped_and_durable_before_the_first_byte(rig: Rig) -> None:
    recorder = await reborn(rig, await begun(rig))
    before = SessionFolder(next(rig.spool.glob("w-*/s-*"))).head()
    await recorder.resume(ID)
    (path,) = rig.left_in_spool()
    after = SessionFolder(path.parent).head()
    assert (before.epoch, after.epoch) == (1, 2)
    assert after.wrapped_key != before.wrapped_key
    assert after.earlier is not None
    assert [epoch.wrapped_key for epoch in after.earlier.epochs] == [before.wrapped_key]


async def test_playing_and_exporting_cross_the_epochs(rig: Rig) -> None:
    rig.ticks.now = 0
    recording = await begun(rig)
    cut = "käse 🧀\r\n".encode()
    recording.output(cut[:-4], 0)  # within the cheese
    recording.resize(132, 50)
    rig.ticks.pass_seconds(2)
    recording.exit(3)
    recorder = await reborn(rig, recording)
    recording = await recorder.resume(ID)
    rig.ticks.pass_seconds(5)
    recording.output(cut[-4:], len(cut) - 4)
    recording.stderr(b"late", 0)
    manifest = await recording.close("logout")

    assert manifest.exit_status == 3
    assert await output_of(rig, manifest) == cut
    found = [event async for event in (await played(rig, manifest)).events(4_000_000)]
    assert (found[0].kind, resize_of(found[0].payload)) == (Kind.RESIZE, (132, 50))
    assert (found[1].payload, found[1].offset) == (cut[-4:], len(cut) - 4)
    text = "".join([piece async for piece in plain_text(await played(rig, manifest))])
    assert text == "käse\n[exit: status 3]\n🧀\nlate\n[end: logout]\n"
    cast = [json.loads(line) async for line in asciicast(await played(rig, manifest))]
    assert cast[0]["jitgate"]["invalid_utf8"] == 0
    assert "".join(line[2] for line in cast[1:] if line[1] == "o") == cut.decode() + "late"
    assert [line[0] for line in cast[1:]] == sorted(line[0] for line in cast[1:])
    await check(rig, manifest)


@pytest.mark.rule("R27")
async def test_an_outsider_verifies_and_decrypts_all_epochs(rig: Rig) -> None:
    recording = await begun(rig)
    for epoch in range(3):
        write(recording, epoch * 7, epoch * 7 + 7)
        recording = await (await reborn(rig, recording)).resume(ID)
    manifest = await recording.close("logout")
    done = outsider(rig, manifest)
    assert done.returncode == 0, done.stderr
    assert done.stdout == lines(0, 21)
    (rig.objects / manifest.prefix / "0002-000001.seg").unlink()
    assert outsider(rig, manifest).returncode == 1


async def test_time_goes_on_by_the_wall_clock_and_never_back(rig: Rig) -> None:
    now = [datetime(2026, 3, 1, 12, tzinfo=UTC)]

    def clock() -> datetime:
        return now[0]

    recorder = rig.recorder(clock=clock)
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"a", 0)
    for passed, boot_ticks in ((90, 7), (-3600, 9_000_000_000)):
        now[0] += timedelta(seconds=passed)
        recorder = await reborn(rig, recording, clock=clock)
        recording = await recorder.resume(ID)
        rig.ticks.now += boot_ticks
        recording.output(b"b", recording.recorded)
    manifest = await recording.close("logout")
    events = [event async for event in (await played(rig, manifest)).events()]
    assert [event.time_us for event in events[:3]] == [0, 90_000_000, 99_000_000]
    assert manifest.started_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    await check(rig, manifest)


async def test_a_torn_last_record_costs_nothing(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"delivered", 0)
    recording.output(b"never passed on", 9)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    part = SessionFolder(next(rig.spool.glob("w-*/s-*"))).part(0)
    part.write_bytes(part.read_bytes()[:-3])
    recording = await (await reborn(rig)).resume(ID)
    assert recording.recorded == 9
    recording.output(b", once", 9)
    manifest = await recording.close("logout")
    assert await output_of(rig, manifest) == b"delivered, once"
    assert manifest.gaps == ()
    await check(rig, manifest)


@pytest.mark.parametrize("wrote", ["nothing", "a torn record"])
async def test_epochs_without_a_segment_are_links_as_well(rig: Rig, wrote: str) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    for _ in range(3):
        recorder = await reborn(rig, recording)
        recording = await recorder.resume(ID)
        if wrote == "a torn record":
            path = next(rig.spool.glob("w-*/s-*"))
            (path / "000000.journal").write_bytes(b"\0\0\1\0torn")
    write(recording, 3, 6) if wrote == "nothing" else None
    manifest = await recording.close("logout") if wrote == "nothing" else await given_up(rig, recording)
    assert [len(epoch.segments) for epoch in manifest.epochs] == [1, 0, 0, 1]
    assert manifest.epochs[0].head == manifest.epochs[2].head
    assert await output_of(rig, manifest) == lines(0, 6 if wrote == "nothing" else 3)
    await check(rig, manifest)


@pytest.mark.parametrize(("durability", "told"), [(Durability.PROCESS, 1), (Durability.SYNC, 0)])
@pytest.mark.parametrize("parts", ["open", "stored"])
async def test_power_loss_is_said_once_an_epoch(rig: Rig, durability: Durability, told: int, parts: str) -> None:
    recorder = rig.recorder(segment_bytes=500, durability=durability)
    await recorder.start()
    recording = await recorder.open(session())
    for epoch in range(2):
        write(recording, epoch * 3, epoch * 3 + 3)
        if parts == "stored":
            recording._roll()
            await recording.uploader.drained()
        recording.suspend()
        await rig.started[-1].stop(timeout=0)
        lose_power(rig)
        for _ in range(3):
            recorder = await reborn(rig, durability=durability)
        recording = await recorder.resume(ID)
    manifest = await recording.close("logout")
    assert [gap.reason for gap in manifest.gaps] == [POWER_LOSS] * 2 * told
    events = [event async for event in (await played(rig, manifest)).events()]
    gaps = [number for number, event in enumerate(events) if event.kind is Kind.GAP]
    assert gaps == ([3, 7] if told else [])
    assert await output_of(rig, manifest) == lines(0, 6)
    await check(rig, manifest)


async def test_power_loss_is_not_said_again_when_it_is_given_up(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    lose_power(rig)
    recorder = await reborn(rig)
    await recorder.give_up(ID)
    (manifest,) = rig.ears.manifests
    assert [gap.reason for gap in manifest.gaps] == [POWER_LOSS]


async def test_what_is_lost_within_an_epoch_is_a_gap_in_the_whole(rig: Rig, flaky: Flaky) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recording = await (await reborn(rig, recording)).resume(ID)
    flaky.left = 10**9
    write(recording, 3, 20)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    folder = SessionFolder(next(rig.spool.glob("w-*/s-*")))
    folder.part(1).write_bytes(b"")
    flaky.left = 0
    recording = await (await reborn(rig)).resume(ID)
    assert recording.recorded == 2000
    manifest = await recording.close("logout")
    assert [gap.lost_bytes for gap in manifest.gaps] == [0, 500]
    assert len(await output_of(rig, manifest)) == 1500
    await check(rig, manifest)


async def test_a_spool_of_the_format_before_epochs_is_read(rig: Rig) -> None:
    recording = await begun(rig)
    write(recording, 0, 3)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    path = next(rig.spool.glob("w-*/s-*/head.json"))
    former = json.loads(path.read_bytes())
    assert former.pop("earlier") is None
    path.write_bytes(canonical.dump({**former, "format": "jitgate-spool-1"}))
    manifest = await (await (await reborn(rig)).resume(ID)).close("logout")
    assert await output_of(rig, manifest) == lines(0, 3)
    path = rig.spool / "w-0000000000000000" / ID / "head.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(canonical.dump({**former, "format": "jitgate-spool-0"}))
    (aside,) = (await rig.recorder().start()).quarantined
    assert "jitgate-spool-0" in aside.reason


async def test_the_end_of_input_and_the_exit_are_known_in_the_next_epoch(rig: Rig) -> None:
    recording = await begun(rig)
    recording.output(b"x", 0)
    recording.eof(Stream.OUTPUT)
    assert not recording.input_ended
    recording.eof(Stream.INPUT)
    recording.exit(-1, "KILL")
    assert recording.input_ended
    assert recording.exited
    recording = await (await reborn(rig, recording)).resume(ID)
    assert recording.input_ended
    assert recording.exited
    manifest = await recording.close("logout")
    assert recording.ended
    assert manifest.exit_status == -1
    await check(rig, manifest)


async def test_an_exit_is_kept_when_what_follows_is_found_in_the_store(rig: Rig) -> None:
    recording = await begun(rig)
    recording.exit(7)
    recording._roll()
    recording.output(b"late", 0)
    recording._roll()
    await recording.uploader.drained()
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    log = next(rig.spool.glob("w-*/s-*/stored.jsonl"))
    log.write_bytes(log.read_bytes().split(b"\n")[0] + b"\n")
    manifest = await given_up(rig, recording)
    assert manifest.exit_status == 7
    assert await output_of(rig, manifest) == b"late"
    await check(rig, manifest)

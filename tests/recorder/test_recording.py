"""A recording from open to close: what is written is what is read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable

import pytest
from tenacity import wait_none

from clients.agent.flow import KEPT_HIGH
from recorder.errors import KeyUnavailable, RecordingFailed, RepeatedOffset
from recorder.events import exit_of, resize_of
from recorder.exporting import raw_output
from recorder.model import Durability, Kind, Manifest, Stream, encryption_context, prefix_of
from recorder.playback import Playback
from recorder.ports import DataKey, Receipt
from recorder.verification import verify
from tests.recorder.conftest import Flaky, Rig, session


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.002)


@pytest.mark.rule("R27")
async def test_what_is_written_is_played_back(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"$ ", 0)
    rig.ticks.pass_seconds(1.5)
    recording.input(b"ls\n", 0)
    recording.resize(120, 40)
    recording.output(memoryview(b"\xff\x00bin"), 2)
    recording.stderr(bytearray(b"oops"), 0)
    recording.signal("INT")
    recording.eof(Stream.INPUT)
    recording.notice("five minutes left")
    recording.exit(3, "")
    manifest = await recording.close("logout")

    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    events = [event async for event in playback.events()]

    assert [event.kind for event in events] == [
        Kind.OUTPUT,
        Kind.INPUT,
        Kind.RESIZE,
        Kind.OUTPUT,
        Kind.STDERR,
        Kind.SIGNAL,
        Kind.EOF,
        Kind.NOTICE,
        Kind.EXIT,
        Kind.END,
    ]
    assert [event.time_us for event in events[:3]] == [0, 1_500_000, 1_500_000]
    assert events[3].offset == 2
    assert events[3].payload == b"\xff\x00bin"
    assert resize_of(events[2].payload) == (120, 40)
    assert exit_of(events[8].payload) == (3, "")
    assert (manifest.bytes_out, manifest.bytes_stderr, manifest.bytes_in) == (7, 4, 3)
    assert (manifest.ended, manifest.exit_status, manifest.recovered) == ("logout", 3, False)
    assert manifest.session == session()
    assert rig.ears.manifests == [manifest]
    assert rig.left_in_spool() == []


@pytest.mark.rule("R27")
async def test_input_is_time_and_length_only(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.input(b"hunter2 the secret", 0)
    manifest = await recording.close("logout")

    assert manifest.epochs[0].wrapped_input_key is None
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()), with_input=True)
    events = [event async for event in playback.events()]
    assert events[0].kind is Kind.INPUT
    assert events[0].payload == (18).to_bytes(4, "big")


@pytest.mark.rule("R27")
async def test_input_content_opens_with_its_own_key_only(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    asked = session(record_input_content=True)
    recording = await recorder.open(asked)
    recording.input(b"whoami\n", 0)
    recording.input(12, 7)  # typed without echo
    recording.input(b"exit\n", 19)
    manifest = await recording.close("logout")
    context = encryption_context(asked)

    without = await Playback.open(manifest, rig.store, rig.keys, context)
    shown = [event async for event in without.events()]
    assert [event.kind for event in shown[:3]] == [Kind.INPUT] * 3
    assert [int.from_bytes(event.payload, "big") for event in shown[:3]] == [7, 12, 5]
    granted = await Playback.open(manifest, rig.store, rig.keys, context, with_input=True)
    shown = [event async for event in granted.events()]
    assert [event.kind for event in shown[:3]] == [Kind.INPUT_CONTENT, Kind.INPUT, Kind.INPUT_CONTENT]
    assert [shown[0].payload, shown[2].payload] == [b"whoami\n", b"exit\n"]
    assert manifest.bytes_in == 24


async def test_no_plaintext_and_no_key_touches_the_disk(rig: Rig) -> None:
    seen: list[bytes] = []

    class Spy:
        async def generate_data_key(self, context: dict[str, str]) -> DataKey:
            key = await rig_keys.generate_data_key(context)
            seen.append(key.plaintext)
            return key

        async def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
            return await rig_keys.unwrap(wrapped, context)

    rig_keys = rig.keys
    rig.keys = Spy()  # type: ignore[assignment]  # a dict is a Mapping here
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session(record_input_content=True))
    recording.output(b"a very particular secret", 0)
    recording.input(b"another one, typed", 0)
    disk = b"".join(path.read_bytes() for path in rig.root.rglob("*") if path.is_file())
    await recording.close("logout")
    disk += b"".join(path.read_bytes() for path in rig.root.rglob("*") if path.is_file())

    assert len(seen) == 2
    for secret in (b"very particular", b"one, typed", *seen, *(key.hex().encode() for key in seen)):
        assert secret not in disk


async def test_parts_become_segments_by_size_and_by_age(rig: Rig) -> None:
    recorder = rig.recorder(segment_bytes=1000, segment_seconds=0.05)
    await recorder.start()
    recording = await recorder.open(session())
    for number in range(30):
        recording.output(b"x" * 100, number * 100)
    await until(lambda: not list(rig.spool.rglob("*.journal")))  # what is stored is freed while the session lives
    assert stored(rig) == 4
    recording.output(b"late", 3000)
    manifest = await recording.close("logout")

    assert [entry.sequence for entry in manifest.epochs[0].segments] == [0, 1, 2, 3, 4]
    assert (await verify(await rig.manifest_file(manifest), rig.store, rig.public_keys)).intact
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    assert b"".join([chunk async for chunk in raw_output(playback)]) == b"x" * 3000 + b"late"


def recording_folder(rig: Rig) -> str:
    return str(next(rig.spool.glob("w-*/s-*")).relative_to(rig.spool))


def stored(rig: Rig) -> int:
    return len(list(rig.objects.rglob("*.seg")))


async def test_a_part_too_big_for_memory_is_read_from_its_file(rig: Rig) -> None:
    recorder = rig.recorder(memory_bytes=500)
    await recorder.start()
    recording = await recorder.open(session())
    for number in range(50):
        recording.output(b"%04d" % number, number * 4)
    manifest = await recording.close("logout")
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    assert b"".join([c async for c in raw_output(playback)]) == b"".join(b"%04d" % n for n in range(50))
    assert manifest.gaps == ()


async def test_seek_starts_with_the_size_of_the_terminal(rig: Rig) -> None:
    recorder = rig.recorder(segment_bytes=200)
    await recorder.start()
    recording = await recorder.open(session(columns=100, rows=30))
    for second in range(60):
        if second == 20:
            recording.resize(132, 50)
        recording.output(b"%03d" % second * 10, second * 30)
        rig.ticks.pass_seconds(1)
    manifest = await recording.close("logout")
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))

    found = [event async for event in playback.events(30_000_000)]
    assert (found[0].kind, found[0].time_us, resize_of(found[0].payload)) == (Kind.RESIZE, 30_000_000, (132, 50))
    assert found[1].payload.startswith(b"030")
    assert found[1].offset == 900
    early = [event async for event in playback.events(1)]
    assert resize_of(early[0].payload) == (100, 30)
    assert [event async for event in playback.events(61_000_000)] == []


async def test_repeated_offsets_are_refused_and_jumps_are_gaps(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session(record_input_content=True))
    recording.output(b"0123456789", 0)
    recording.input(b"abc", 0)
    with pytest.raises(RepeatedOffset):
        recording.output(b"9", 9)
    with pytest.raises(RepeatedOffset):
        recording.input(b"c", 2)
    recording.output(b"after", 15)
    manifest = await recording.close("logout")
    assert [(gap.lost_bytes, gap.reason) for gap in manifest.gaps] == [(5, "never reached the recorder")]
    assert manifest.bytes_out == 20
    assert manifest.bytes_in == 3


async def test_nothing_is_taken_after_the_close(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    first, second = await asyncio.gather(recording.close("logout"), recording.close("again"))
    assert first is second
    assert recording.failure is None
    with pytest.raises(RecordingFailed, match="closed"):
        recording.output(b"x", 0)


async def test_a_payload_beyond_the_bound_is_refused(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    with pytest.raises(ValueError, match="at most"):
        recording.output(bytes(4 * 1024 * 1024 + 1), 0)
    recording.output(bytes(4 * 1024 * 1024), 0)
    assert (await recording.close("logout")).bytes_out == 4 * 1024 * 1024


@pytest.mark.rule("R27")
async def test_no_key_no_recording(rig: Rig) -> None:
    class Away:
        name = "away"

        async def generate_data_key(self, context: object) -> DataKey:
            raise KeyUnavailable("the key service is away")

        async def unwrap(self, wrapped: bytes, context: object) -> bytes:
            raise AssertionError

    rig.keys = Away()
    recorder = rig.recorder()
    await recorder.start()
    with pytest.raises(RecordingFailed, match="away"):
        await recorder.open(session())
    assert rig.left_in_spool() == []


async def test_the_same_session_is_not_recorded_twice(rig: Rig) -> None:
    recorder = rig.recorder()
    with pytest.raises(RecordingFailed, match="not running"):
        await recorder.open(session())
    await recorder.start()
    await recorder.open(session())
    with pytest.raises(RecordingFailed, match="already"):
        await recorder.open(session())


async def test_the_wrapped_key_is_on_disk_before_open_returns(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    assert [path.name for path in rig.left_in_spool()] == ["head.json"]
    recording.output(b"x", 0)
    assert (rig.spool / recording_folder(rig) / "000000.journal").stat().st_size == 4 + 20 + 1 + 16


async def test_sync_durability_resolves_after_the_disk_has_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        real(fd)
        synced.append(fd)

    monkeypatch.setattr("os.fdatasync", counted)
    recorder = rig.recorder(durability=Durability.SYNC)
    await recorder.start()
    one, two = await recorder.open(session(1)), await recorder.open(session(2))
    synced.clear()
    one.output(b"a", 0)
    two.output(b"b", 0)
    await asyncio.gather(one.durable(), two.durable())
    assert len(synced) == 2  # one round for both
    await one.durable()
    assert len(synced) == 2


async def test_a_disk_that_cannot_sync_fails_the_recording(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    monkeypatch.setattr("os.fdatasync", broken)
    recording.output(b"a", 0)
    assert "durable" in await asyncio.wait_for(recording.failed(), 30)
    with pytest.raises(RecordingFailed, match="durable"):
        recording.output(b"b", 1)
    with pytest.raises(RecordingFailed):
        await recording.durable()
    manifest = await recording.close("the session was ended")
    assert manifest.bytes_out == 1
    assert "recording failed" in manifest.ended


class Liar(Flaky):
    """A store that for some puts answers with a receipt for something else, and keeps nothing."""

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        if self.left:
            self.left -= 1
            return Receipt(name, len(data) - 1, sha256, created=True)
        return await super().put_if_absent(name, data, sha256)


async def test_an_absent_store_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.uploading._PATIENCE", wait_none())
    rig.store = Flaky(rig, 3)
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"kept", 0)
    manifest = await recording.close("logout")
    assert manifest.bytes_out == 4
    assert rig.ears.waits == [(session().session_id, "the store is away")] * 3


async def test_a_receipt_for_something_else_is_not_believed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.uploading._PATIENCE", wait_none())
    rig.store = Liar(rig, 2)
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"kept", 0)
    assert (await recording.close("logout")).bytes_out == 4
    assert len(rig.ears.waits) == 2
    assert "receipt" in rig.ears.waits[0][1]


async def test_a_stop_that_cannot_wait_leaves_the_rest_to_the_next_start(rig: Rig) -> None:
    rig.store = flaky = Flaky(rig, 10**9)
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"kept", 0)
    closing = asyncio.ensure_future(recording.close("logout"))
    await recorder.stop(timeout=0.05)
    with pytest.raises(RecordingFailed, match="next start"):
        await closing

    flaky.left = 0
    again = await rig.recorder().start()
    assert [(m.ended, m.bytes_out, m.recovered) for m in again.finished] == [("logout", 4, False)]
    assert rig.left_in_spool() == []


async def test_a_foreign_object_in_the_way_fails_the_recording_and_keeps_the_spool(rig: Rig) -> None:
    recorder = rig.recorder(segment_seconds=0.02)
    await recorder.start()
    recording = await recorder.open(session())
    head = recording.uploader.chain.head
    name = prefix_of(head.session, head.started_at) + "0001-000000.seg"
    digest = hashlib.sha256(b"mine").hexdigest()
    await rig.store.put_if_absent(name, b"mine", digest)
    recording.output(b"x", 0)
    assert "refused" in await asyncio.wait_for(recording.failed(), 30)
    with pytest.raises(RecordingFailed):
        recording.output(b"y", 1)
    with pytest.raises(RecordingFailed, match="finished"):
        await recording.close("ended")
    assert [spool.session_id for spool in rig.ears.aside] == [session().session_id]
    assert list((rig.spool / "quarantine").glob("*/000000.journal"))
    assert await rig.store.get(name) == b"mine"


async def test_an_observer_that_fails_is_told_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.uploading._PATIENCE", wait_none())
    told: list[str] = []
    hear = rig.ears.finished

    async def busy(manifest: Manifest, file: bytes) -> None:
        told.append("tried")
        if len(told) < 3:
            raise RuntimeError("the database is away")
        await hear(manifest, file)

    rig.ears.finished = busy  # type: ignore[method-assign]  # the test stands in for the method
    recorder = rig.recorder()
    await recorder.start()
    manifest = await (await recorder.open(session())).close("logout")
    assert len(told) == 3
    assert rig.ears.manifests == [manifest]


async def test_under_store_output_is_secured_once_the_store_has_it(rig: Rig, flaky: Flaky) -> None:
    flaky.left = 10**9
    recorder = rig.recorder(durability=Durability.STORE, segment_seconds=0.01)
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"out", 0)
    recording.stderr(b"errors", 0)
    await recording.durable()
    async with asyncio.timeout(30):
        while not rig.ears.waits:
            await asyncio.sleep(0.01)
    assert (recording.recorded, recording.secured) == (9, 0)
    flaky.left = 0
    async with asyncio.timeout(30):
        while recording.secured != 9:
            await asyncio.sleep(0.01)
    recording.output(b"more", 3)
    assert (recording.recorded, recording.secured) == (13, 9)
    await recording.close("exit")


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.SYNC])
async def test_else_output_is_secured_once_it_is_recorded(rig: Rig, durability: Durability) -> None:
    recorder = rig.recorder(durability=durability)
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"out", 0)
    assert recording.secured == 3


async def test_under_store_objects_are_small_and_young(rig: Rig) -> None:
    recorder = rig.recorder(durability=Durability.STORE)
    assert recorder._shared.segment_seconds == 2
    assert recorder._shared.segment_bytes == KEPT_HIGH // 2

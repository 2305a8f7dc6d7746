"""A store that is away costs no memory: what is read from the spool again is let go of between two tries."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tenacity import wait_none

from recorder import uploading
from recorder.errors import ObjectConflict, RecordingFailed, StoreUnavailable
from recorder.journal import Reading, read_part
from recorder.model import encryption_context
from recorder.object_stores.local_folder import LocalFolder
from recorder.ports import Receipt
from recorder.service import Recorder
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session
from tests.recorder.test_verification import flip

SESSIONS = 10


class Away(LocalFolder):
    """Holds what it is asked to store until it is told what to do with it."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.objects)
        self.asked = 0
        self.refusals = 0
        self.answers = asyncio.Event()

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        self.asked += 1
        await self.answers.wait()
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("the store is away")
        return await super().put_if_absent(name, data, sha256)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of parts that were read from the spool."""
    numbers: list[int] = []

    def read(data: bytes, number: int, *rest: object) -> Reading:
        numbers.append(number)
        return read_part(data, number, *rest)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(uploading, "read_part", read)
    monkeypatch.setattr(uploading, "_PATIENCE", wait_none())
    return numbers


async def begun(rig: Rig, recorder: Recorder) -> list[asyncio.Task[object]]:
    closing = []
    for number in range(SESSIONS):
        recording = await recorder.open(dataclasses.replace(session(), session_id=f"s-{number:020d}"))
        recording.output(b"%0100d" % number, 0)
        closing.append(asyncio.create_task(recording.close("logout")))
    return closing  # type: ignore[return-value]  # what they give is not looked at


@pytest.mark.parametrize("refusals", [0, 25])
async def test_few_parts_are_in_memory_while_the_store_is_away(rig: Rig, reads: list[int], refusals: int) -> None:
    store = Away(rig)
    rig.store, store.refusals = store, refusals
    recorder = rig.recorder(memory_bytes=0)
    await recorder.start()
    closing = await begun(rig, recorder)
    async with asyncio.timeout(30):
        while store.asked < uploading._READ_AT_ONCE:
            await asyncio.sleep(0.01)
    for _ in range(100):  # the others have every chance
        await asyncio.sleep(0)
    assert len(reads) == store.asked == uploading._READ_AT_ONCE
    store.answers.set()
    await asyncio.gather(*closing)
    assert len(reads) >= SESSIONS + min(refusals, SESSIONS) // 2  # each try reads again
    assert len(rig.ears.manifests) == SESSIONS
    assert all(manifest.bytes_out == 100 for manifest in rig.ears.manifests)
    assert not rig.left_in_spool()


async def test_a_store_that_keeps_what_it_refused_has_it_adopted(rig: Rig, reads: list[int]) -> None:
    """The answer got lost: the next try seals again, under another salt, and finds its own events."""
    stored: list[str] = []

    class Forgetful(LocalFolder):
        async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
            receipt = await super().put_if_absent(name, data, sha256)
            if name not in stored:
                stored.append(name)
                raise StoreUnavailable("the connection was reset")
            return receipt

    rig.store = Forgetful(rig.objects)
    recorder = rig.recorder(memory_bytes=0)
    await recorder.start()
    await asyncio.gather(*await begun(rig, recorder))
    assert len(rig.ears.manifests) == SESSIONS
    assert len(reads) == 2 * SESSIONS
    assert not rig.left_in_spool()


@pytest.mark.rule("R24")
@pytest.mark.parametrize("memory_bytes", [0, 800])  # 800: the second part is read, not what follows
@pytest.mark.parametrize(
    "damage",
    [
        lambda part: flip(part, 200),
        lambda part: flip(part, -1),
        lambda part: os.truncate(part, part.stat().st_size - 1),
        lambda part: os.truncate(part, 0),
    ],
)
async def test_what_the_spool_gives_back_otherwise_is_a_gap_and_the_recording_is_whole(
    rig: Rig, damage: Callable[[Path], None], memory_bytes: int
) -> None:
    recorder = rig.recorder(segment_bytes=500, memory_bytes=memory_bytes)
    await recorder.start()
    recording = await recorder.open(session())
    recording.resize(100, 30)
    for line in range(12):
        recording.output(b"%099d\n" % line, line * 100)
    recording.exit(0)
    damage(sorted(rig.spool.rglob("*.journal"))[1])
    manifest = await recording.close("logout")
    opening = Opening(rig.keys, encryption_context(session()))
    file = await rig.manifest_file(manifest)
    assert (await verify(file, rig.store, rig.public_keys, opening=opening)).findings == ()
    assert (manifest.bytes_out, manifest.exit_status, manifest.ended) == (1200, 0, "logout")
    assert any("spool" in gap.reason and gap.lost_bytes >= 100 for gap in manifest.gaps)


def open_parts() -> int:
    """Parts that this process holds open."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            count += each.readlink().suffix == ".journal"
    return count


async def test_what_waits_for_the_store_holds_no_file_open(rig: Rig) -> None:
    rig.store = store = Away(rig)
    recorder = rig.recorder(segment_bytes=500)
    await recorder.start()
    recording = await recorder.open(session())
    for line in range(60):
        recording.output(b"%099d\n" % line, line * 100)
    async with asyncio.timeout(30):
        while open_parts() > 1:
            await asyncio.sleep(0.01)
    assert recording.pending().waiting > 10
    store.answers.set()
    assert (await recording.close("logout")).bytes_out == 6000
    assert open_parts() == 0


async def test_what_is_refused_for_good_leaves_neither_files_open_nor_memory_taken(rig: Rig) -> None:
    class Refusing(LocalFolder):
        async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
            raise ObjectConflict("it is another's")

        async def get(self, name: str) -> bytes:
            return b"another's"

    rig.store = Refusing(rig.objects)
    recorder = rig.recorder(segment_bytes=500)
    await recorder.start()
    recording = await recorder.open(session())
    for line in range(60):
        recording.output(b"%099d\n" % line, line * 100)
    with pytest.raises(RecordingFailed, match="segment"):
        await recording.close("logout")
    assert open_parts() == 0
    assert recorder._shared.memory._used == 0

"""What was written is on the disk 50 ms later, as far as the disk lets it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import RecordingFailed
from recorder.events import Tally
from recorder.journal import Part
from recorder.model import Durability, Kind
from recorder.sealing import journal_seal
from recorder.syncing import WITHIN_SECONDS, GroupSync, Pace
from tests.recorder.conftest import Rig, session


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0, 0.02))
def test_a_round_as_long_as_the_last_ones_is_over_in_time(before: list[float], took: float) -> None:
    pace = Pace()
    for each in [*before, took]:
        pace.took(each)
    if pace.patience:
        assert pace.patience + took < WITHIN_SECONDS


def test_rounds_that_cost_nothing_are_seldom() -> None:
    pace = Pace()
    assert pace.patience > WITHIN_SECONDS / 2
    pace.took(0.02)
    slow = pace.patience
    assert slow < WITHIN_SECONDS / 2
    for _ in range(50):
        pace.took(0.0001)
    assert pace.patience > WITHIN_SECONDS / 2


def test_a_slow_disk_has_the_next_round_at_once() -> None:
    pace = Pace()
    pace.took(1.0)
    assert pace.patience == 0


@pytest.mark.parametrize("count", [1, 8, 21])
async def test_a_round_is_over_all_parts_and_tells_whose_disk_failed(tmp_path: Path, count: int) -> None:
    sync, failures = GroupSync(), list[tuple[int, str]]()
    parts = [Part(tmp_path / f"{n}", n, journal_seal(b"k" * 32), Tally(80, 24)) for n in range(count)]
    for part in parts:
        part.write(int(Kind.OUTPUT), 0, 0, b"one")
        sync.touch(part, lambda why, number=part.number: failures.append((number, why)))  # type: ignore[misc]  # bound here
    parts[-1].close()
    await sync.wait()
    assert [number for number, _ in failures] == [count - 1]
    assert [part.number for part in parts if part.fresh] == [count - 1]
    assert not any(part.dirty for part in parts)
    for part in parts:
        part.close()
    sync.close()


class SlowDisk:
    """Syncs of the first part wait until the test lets them; then they fail, if it says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.is_broken = False
        self._sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._slow)

    def _slow(self, fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "000000.journal":
            self.asked.set()
            assert self.go.wait(30)
            if self.is_broken:
                raise OSError("the disk is broken")
        self._sync(fd)


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("is_broken", [False, True])
async def test_what_a_part_has_that_is_full_is_waited_for_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool, is_broken: bool
) -> None:
    disk = SlowDisk(monkeypatch)
    disk.is_broken = is_broken
    recorder = rig.recorder(durability=Durability.SYNC)
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"one", 0)
    recording.hand_over()  # as its age does
    if goes_on:
        recording.output(b"two", 3)
    await asyncio.to_thread(disk.asked.wait, 30)
    durable = asyncio.create_task(recording.durable())
    await asyncio.wait((durable,), timeout=0.1)
    assert not durable.done()
    disk.go.set()
    if is_broken:
        with pytest.raises(RecordingFailed, match="made durable"):
            await durable
    else:
        await durable
    await recording.close("logout")

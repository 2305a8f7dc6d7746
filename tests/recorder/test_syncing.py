"""What is passed on is on the disk within 50 ms, or it is not passed on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from recorder.recording import Recording
from tests.recorder.conftest import Rig, session


class Disk:
    """One that is as slow as the test wants it."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.works.set()
        self.syncs = 0
        self._sync = os.fdatasync

    def sync(self, fd: int) -> None:
        self.works.wait()
        self._sync(fd)
        self.syncs += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    slow = Disk()
    monkeypatch.setattr(os, "fdatasync", slow.sync)
    yield slow
    slow.works.set()


async def held_back(recording: Recording) -> asyncio.Task[None]:
    """A caller that waits for the disk, and is seen to."""
    waiting = asyncio.create_task(recording.durable())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


@pytest.mark.parametrize("rolled", [False, True])
async def test_a_writer_whose_disk_is_behind_holds_back(rig: Rig, disk: Disk, rolled: bool) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    disk.works.clear()
    recording.output(b"one", 0)
    rig.ticks.pass_seconds(0.05)
    await recording.durable()  # as long as that it may be away
    if rolled:
        recording.hand_over()
        await asyncio.sleep(0)
    recording.output(b"two", 3)
    rig.ticks.pass_seconds(0.001)
    waiting = await held_back(recording)
    disk.works.set()
    await waiting
    assert disk.syncs
    await recording.close("logout")
    await recorder.stop()


async def test_what_is_durable_is_not_waited_for(rig: Rig, disk: Disk) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"one", 0)
    rig.ticks.pass_seconds(10)
    await recording.durable()  # has a round made of its own accord
    assert disk.syncs == 1
    disk.works.clear()
    rig.ticks.pass_seconds(10)
    recording.output(b"two", 3)
    await recording.durable()
    disk.works.set()
    await recording.close("logout")
    await recorder.stop()

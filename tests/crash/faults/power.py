"""A power cut: the process is gone, and so is all that was not synced."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from recorder import canonical
from recorder.model import Durability
from recorder.recovery import LOST_PART, POWER_LOSS, TORN_PART
from recorder.spool import SessionFolder
from tests.crash.faults.ages import MARGIN_SECONDS, Passed, Sync, longest_overdue
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.power_victim import LOG
from tests.crash.faults.writers import evidence_in, finished, read_until

_OF_PARTS = {LOST_PART, TORN_PART, "damaged in the spool"}


@dataclass
class Disk:
    """What was durable at the cut, and what came before it."""

    sizes: dict[int, int] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    waiting: float = 0.0
    """When a round was begun that no thread has come to; 0: none."""

    @classmethod
    def noted(cls, root: Path, cut: float) -> Disk:
        disk = cls()
        in_flight = dict[tuple[int, float], Sync]()
        before = dict[int, Sync]()
        looked = dict[int, float]()
        # A line that was cut off is of a sync that nobody relied upon yet.
        for line in (root / LOG).read_bytes().split(b"\n")[:-1]:
            note = json.loads(line)
            if "round" in note:
                disk.waiting = note["round"]
                continue
            inode, size = note["inode"], note["size"]
            if "passed" in note:
                disk.passed.append(Passed(note["passed"], note["end"], inode, size))
                continue
            which = (inode, note["began"])
            if "ended" not in note:
                wanted, disk.waiting = disk.waiting or note["began"], 0.0
                in_flight[which] = Sync(inode, size, wanted, note["began"], cut)
                continue
            in_flight[which] = replace(in_flight[which], ended=note["ended"])
            if note["names"] is None:
                disk.sizes[inode] = size
                before[note["thread"]] = in_flight[which]
            else:
                # Of two that overlap, the one that began first may end last.
                if note["began"] > looked.get(inode, 0.0):
                    disk.names[inode], looked[inode] = set(note["names"]), note["began"]
                # A new journal is safe once its folder names it, which is the next thing that its thread does.
                if (file := before.pop(note["thread"], None)) is not None:
                    disk.syncs.append(replace(file, ended=note["ended"]))
            disk.syncs.append(in_flight.pop(which))
        disk.syncs += in_flight.values()
        return disk

    def forget(self, folder: Path) -> None:
        """All below that was not synced: names that no sync of their folder saw, bytes that no other did."""
        durable = self.names.get(folder.stat().st_ino, set())
        for path in list(folder.iterdir()):
            if path.name not in durable:
                _remove(path)
            elif path.is_dir():
                self.forget(path)
            elif (size := self.sizes.get(path.stat().st_ino, 0)) < path.stat().st_size:
                with path.open("rb+") as file:
                    file.truncate(size)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    for each in path.iterdir():
        _remove(each)
    path.rmdir()


def power_cut(durability: Durability) -> Callable[[Where, Random], Coroutine[None, None, Outcome]]:
    async def once(where: Where, random: Random) -> Outcome:
        root, seed = where.folder, random.randrange(1 << 60)
        evidence = evidence_in(root)
        program = (sys.executable, "-m", "tests.crash.faults.power_victim")
        process = subprocess.Popen([*program, root, str(seed), durability.value], stdout=subprocess.PIPE)
        most = 200_000 if durability is Durability.SYNC else 6_000_000
        seen = read_until(process, random.uniform(1, most))
        process.kill()
        cut = time.monotonic()
        seen += process.communicate()[0]
        disk = Disk.noted(root, cut)
        disk.forget(root / "spool")
        for path in (root / "spool").glob("w-*/s-*"):
            head = replace(SessionFolder(path).head(), boot_id="another run of the machine")
            (path / "head.json").write_bytes(canonical.dump(head))
        manifest = await finished(root)
        if manifest is None:
            return Outcome(len(seen), len(seen), problems=["the recording did not survive"])
        outcome = await evidence.of(manifest, manifest.session, seen)
        told = [gap.reason for gap in manifest.gaps]
        if durability is Durability.SYNC:
            outcome.expect(not outcome.lost and not told, f"{outcome.lost} bytes lost under sync; gaps: {told}")
            return outcome
        # Where a full part was still being synced when the next one was, its end is lost as well.
        outcome.expect(told[-1:] == [POWER_LOSS] and {*told[:-1]} <= _OF_PARTS, f"the gaps that it shows: {told}")
        recorded = len(seen) - outcome.lost
        lost = [chunk.at for chunk in disk.passed if chunk.end > recorded]
        outcome.lost_ms = max(0.0, cut - lost[0]) * 1000 if outcome.lost else 0.0
        overdue = longest_overdue(disk.passed, disk.syncs, disk.waiting or cut) - MARGIN_SECONDS
        outcome.expect(overdue <= 0, f"something was synced {overdue * 1000:.0f} ms too late")
        return outcome

    return once

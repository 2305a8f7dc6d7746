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
from recorder.recovery import POWER_LOSS
from recorder.spool import SessionFolder
from recorder.syncing import INTERVAL_SECONDS
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.power_victim import LOG
from tests.crash.faults.writers import evidence_in, finished, read_until

_MACHINE_SECONDS = 0.05
"""What a busy machine may keep a process waiting, twice in a round."""


@dataclass
class Disk:
    """What was durable."""

    sizes: dict[int, int] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)
    slowest: float = 0.0
    opened: float = 0.0

    @classmethod
    def noted(cls, root: Path) -> Disk:
        disk = cls()
        # A line that was cut off is of a sync that nobody relied upon yet.
        for line in (root / LOG).read_bytes().split(b"\n")[:-1]:
            note = json.loads(line)
            if "opened" in note:
                disk.opened = note["opened"]
                continue
            disk.slowest = max(disk.slowest, note["took"])
            if note["names"] is None:
                disk.sizes[note["inode"]] = note["size"]
            else:
                disk.names[note["inode"]] = set(note["names"])
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
        disk = Disk.noted(root)
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
        outcome.expect(told == [POWER_LOSS], f"the gaps that it shows: {told}")
        lacks = cut - disk.opened - manifest.duration_us / 1e6
        may = INTERVAL_SECONDS + 2 * (disk.slowest + _MACHINE_SECONDS)
        outcome.lost_ms = lacks * 1000 if outcome.lost else 0.0
        outcome.expect(
            not outcome.lost or lacks <= may, f"{lacks * 1000:.0f} ms are lost, {may * 1000:.0f} may be"
        )
        return outcome

    return once

"""A power cut: the process is gone, and so is all that was not synced.

What may be missing is measured by the recording's own clock, in the journal as it was before the cut: from the
first event that is lost to the last one that was passed on. However busy the machine is, that is 50 ms at most: a
writer whose disk is behind holds back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from recorder import canonical
from recorder.events import Tally
from recorder.journal import read_part
from recorder.model import Durability, Kind, Purpose, encryption_context, key_context
from recorder.ports import KeyProvider
from recorder.recovery import POWER_LOSS
from recorder.sealing import journal_seal
from recorder.spool import SessionFolder
from recorder.syncing import MOST_NS
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.power_victim import LOG
from tests.crash.faults.writers import evidence_in, finished, read_until

_MOST_MS = MOST_NS / 1e6


@dataclass
class Disk:
    """What was durable."""

    sizes: dict[int, int] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)

    @classmethod
    def noted(cls, root: Path) -> Disk:
        disk = cls()
        # A line that was cut off is of a sync that nobody relied upon yet.
        for line in (root / LOG).read_bytes().split(b"\n")[:-1]:
            note = json.loads(line)
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


async def _times(root: Path, keys: KeyProvider) -> list[tuple[int, int]]:
    """Where each output event in the spool ends, and its time in µs."""
    found = []
    for path in (root / "spool").glob("w-*/s-*"):
        folder = SessionFolder(path)
        head = folder.head()
        context = key_context(encryption_context(head.session), head.epoch, Purpose.RECORDING)
        seal = journal_seal(await keys.unwrap(head.wrapped_key, context))
        for number in folder.parts():
            reading = read_part(folder.part(number).read_bytes(), number, seal, Tally(80, 24))
            events = reading.batch.events()
            found += [(e.offset + len(e.payload), e.time_us) for e in events if e.kind is Kind.OUTPUT]
    return found


def power_cut(durability: Durability) -> Callable[[Where, Random], Coroutine[None, None, Outcome]]:
    async def once(where: Where, random: Random) -> Outcome:
        root, seed = where.folder, random.randrange(1 << 60)
        evidence = evidence_in(root)
        program = (sys.executable, "-m", "tests.crash.faults.power_victim")
        process = subprocess.Popen([*program, root, str(seed), durability.value], stdout=subprocess.PIPE)
        most = 200_000 if durability is Durability.SYNC else 6_000_000
        seen = read_until(process, random.uniform(1, most))
        process.kill()
        seen += process.communicate()[0]
        times = await _times(root, evidence.keys)
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
        if outcome.lost:
            lost = [at for end, at in times if len(seen) - outcome.lost < end <= len(seen)]
            outcome.lost_ms = (lost[-1] - lost[0]) / 1000
            outcome.expect(
                outcome.lost_ms <= _MOST_MS, f"{outcome.lost_ms:.1f} ms are lost, {_MOST_MS:.0f} may be"
            )
        return outcome

    return once

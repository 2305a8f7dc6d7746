"""What came of a fault: what was delivered, and what its recording has of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from recorder.errors import DamagedManifest
from recorder.exporting import raw_output
from recorder.manifest import parse_manifest
from recorder.model import Manifest, SessionInfo, encryption_context, manifest_name
from recorder.playback import Playback
from recorder.ports import KeyProvider, ObjectStore
from recorder.verification import Opening, verify


@dataclass
class Outcome:
    """Of one run, or of all runs of a fault."""

    delivered: int = 0
    """Bytes that were passed on to somebody."""
    lost: int = 0
    """Bytes of those that the recording does not have."""
    lost_ms: float = 0.0
    """How long before the fault the first of them was passed on, in milliseconds; the longest of all runs."""
    gaps: int = 0
    recordings: int = 0
    verified: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.delivered += other.delivered
        self.lost += other.lost
        self.lost_ms = max(self.lost_ms, other.lost_ms)
        self.gaps += other.gaps
        self.recordings += other.recordings
        self.verified += other.verified
        self.problems += other.problems

    def expect(self, condition: object, problem: str) -> None:
        if not condition:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `play(where, random, runs)` gives an outcome for each run, as it comes.

    `quick` is how often it runs among the tests, `runs` how often it does by default in the table.
    """

    name: str
    play: Callable[[Where, Random, int], Iterable[Outcome]]
    runs: int
    quick: int = 1
    may_lose: bool = False
    """Each run then says by itself whether it lost too much."""

    def is_well(self, total: Outcome) -> bool:
        return not total.problems and total.verified == total.recordings > 0 and (self.may_lose or not total.lost)


@dataclass(frozen=True, slots=True)
class Where:
    """An empty folder, and the address of a moto server."""

    folder: Path
    moto: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What it takes to open a recording."""

    store: ObjectStore
    keys: KeyProvider
    public_keys: Sequence[bytes]

    async def manifests(self) -> list[Manifest]:
        names = [found.name async for found in self.store.list("") if "manifest" in found.name]
        return [parse_manifest(await self.store.get(name)) for name in names]

    async def of(self, manifest: Manifest, session: SessionInfo, delivered: bytes) -> Outcome:
        """Verifies and plays what `manifest` tells of, and counts what it lacks of what was delivered."""
        outcome = Outcome(len(delivered), len(delivered), gaps=len(manifest.gaps), recordings=1)
        context = encryption_context(session)
        data = await self.store.get(manifest_name(manifest.prefix, manifest.epochs[-1].epoch))
        try:
            found = await verify(data, self.store, self.public_keys, opening=Opening(self.keys, context))
        except DamagedManifest as damaged:
            outcome.problems.append(f"{session.session_id}: {damaged}")
            return outcome
        outcome.problems += [f"{session.session_id}: {finding}" for finding in found.findings]
        outcome.verified += not found.findings
        playback = await Playback.open(manifest, self.store, self.keys, context)
        recorded = b"".join([chunk async for chunk in raw_output(playback)])
        outcome.lost = len(delivered) - common(recorded, delivered)
        return outcome


def common(one: bytes, other: bytes) -> int:
    """Length of the common beginning."""
    if one.startswith(other):
        return len(other)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low

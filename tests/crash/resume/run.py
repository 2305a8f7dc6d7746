"""Busy shells through the agent, incident by incident, and what became of them."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash.resume.incidents import Incident, happen, plan
from tests.crash.resume.shell import BURSTING, QUICK, STEADY, Pace, Shell
from tests.crash.resume.shells import Shells
from tests.crash.resume.verdict import Verdict, judge
from tests.crash.resume.world import NODE, World

_BACK_SECONDS = 60.0
_LOGIN_AT_ONCE = 4


@dataclass(frozen=True)
class Outcome:
    """What an incident did. `back` is seconds until all shells went on, None where that was not waited for."""

    incident: Incident
    back: float | None
    alive: int
    seen: int
    away: list[str] = field(default_factory=list)
    """Shells that did not come back in time."""


@dataclass(frozen=True)
class Result:
    verdicts: list[Verdict]
    away: int
    gateway_mib: float
    """Most memory that the last gateway held at any time."""
    agent_mib: float

    @property
    def is_well(self) -> bool:
        return not self.away and all(verdict.is_well for verdict in self.verdicts)


def run(
    world: World, shells: int, kills: int, cuts: int, random: Random, tell: Callable[[Outcome], None]
) -> Result:
    """All incidents, one after the other; `tell` is called after each."""
    away = 0
    folder = world.folder / "shells"
    folder.mkdir()
    with Shells() as busy:
        for number, pace in enumerate(_paces(shells), 1):
            busy.add(Shell(f"shell{number}", NODE, pace, folder, world.alice.environment, Random(random.random())))
            if number % _LOGIN_AT_ONCE == 0:
                busy.until_busy()
        busy.until_busy()
        for incident in plan(kills, cuts, random):
            outcome = _go_through(world, busy, incident, random)
            away += len(outcome.away)
            tell(outcome)
        busy.finish()
        memory = _peak_mib(world.gateway.process), _peak_mib(world.agent.process)
        return Result([judge(world.on, shell) for shell in busy.all], away, *memory)


def _go_through(world: World, busy: Shells, incident: Incident, random: Random) -> Outcome:
    time.sleep(incident.before)  # the random moment itself: there is nothing to wait for
    happen(incident, world.gateway, world.network, random)
    back, away = None, []
    if incident.is_waited_for:
        ended = time.monotonic()
        away = [shell.name for shell in busy.until_back(_BACK_SECONDS)]
        back = time.monotonic() - ended
    return Outcome(incident, back, len(busy.alive), busy.seen, away)


def _paces(shells: int) -> Sequence[Pace]:
    """Of ten, one prints more at once than is kept, and two print without a rest."""
    kinds = (BURSTING, QUICK, STEADY, STEADY, STEADY, QUICK, STEADY, STEADY, STEADY, STEADY)
    return [kinds[number % len(kinds)] for number in range(shells)]


def _peak_mib(process: "subprocess.Popen[bytes] | None") -> float:
    """Most memory that it has held since it was started."""
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

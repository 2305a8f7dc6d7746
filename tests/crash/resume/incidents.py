"""What happens to busy shells: the gateway is killed and started again, and connections are cut."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random

from tests.crash.resume.network import Link, Network
from tests.processes import GatewayProcess

WAITED_FOR = 0.5
"""The share of incidents after which all shells are to be back before the next, which else hits the way back."""
_LONGEST_BEFORE = 1.2  # seconds
_LONGEST_DOWN = 2.5
_LONGEST_CUT = 3.0


class Kind(Enum):
    KILL = "kill -9"
    RESET = "reset"
    STALL = "stall"
    DARK = "dark"
    SILENCE = "silence"


_CUTS = {Kind.RESET: 10, Kind.STALL: 5, Kind.DARK: 4, Kind.SILENCE: 1}
"""How often each is drawn; the last is noticed by those who ask only, which takes half a minute."""


@dataclass(frozen=True)
class Incident:
    """`before` and `lasts` are seconds; `where` is what is cut, "" for a kill."""

    number: int
    kind: Kind
    where: str
    before: float
    lasts: float
    is_waited_for: bool


def plan(kills: int, cuts: int, random: Random) -> Iterator[Incident]:
    """So many of each, in any order. After the last one is always waited for."""
    kinds = [Kind.KILL] * kills + random.choices(list(_CUTS), list(_CUTS.values()), k=cuts)
    random.shuffle(kinds)
    for number, kind in enumerate(kinds, 1):
        is_kill = kind is Kind.KILL
        where = "" if is_kill else random.choice(("clients", "agent", "both"))
        longest = {Kind.KILL: _LONGEST_DOWN, Kind.STALL: _LONGEST_CUT, Kind.DARK: _LONGEST_CUT}.get(kind, 0.0)
        before, lasts = random.uniform(0, _LONGEST_BEFORE), random.uniform(0, longest)
        is_waited_for = random.random() < WAITED_FOR or number == len(kinds)
        yield Incident(number, kind, where, before, lasts, is_waited_for)


def happen(incident: Incident, gateway: GatewayProcess, network: Network, random: Random) -> None:
    """Returns when the gateway is up again, or the network whole."""
    if incident.kind is Kind.KILL:
        gateway.kill()
        time.sleep(incident.lasts)
        gateway.start()
        return
    links = {"clients": [network.clients], "agent": [network.agent], "both": [network.clients, network.agent]}
    for link in links[incident.where]:
        _cut(link, incident, random)
    time.sleep(incident.lasts)


def _cut(link: Link, incident: Incident, random: Random) -> None:
    match incident.kind:
        case Kind.RESET:
            link.reset(random.choice((0.3, 1.0)), random)
        case Kind.STALL:
            link.stall(incident.lasts)
        case Kind.SILENCE:
            link.silence()
        case _:
            link.darken(incident.lasts)

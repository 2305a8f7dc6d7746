"""Two ways to the same thing on the same node, ours and the peer's, run by turns.

A client is a process of its own, and its time counts from its exec.
"""

import resource
import string
import subprocess
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from tests.bench.figure import Cpu
from tests.bench.terminal import Terminal

PAUSE_SECONDS = 0.005
"""Between keys: nobody types faster, and an echo never meets the one before it."""
SETTLING_SECONDS = 10.0

Way = tuple[list[str | Path], dict[str, str]]
"""A command line and its environment."""


@dataclass(frozen=True)
class Ways:
    """`through` are the processes that ours goes through, by name: each an event loop and threads."""

    ours: Way
    peer: Way
    through: dict[str, int]
    rest: str = "sshd's"
    """Who else works for ours."""

    def run(self, rounds: int) -> tuple[float, float, str]:
        """Median seconds of ours and of the peer's, by turns, and where ours go."""
        ours, peers, clients = [], [], []
        spent = self._spent()
        for _ in range(rounds):
            seconds, busy = run(self.ours)
            ours.append(seconds)
            clients.append(busy)
            self._settle()  # the recording is finished behind the client's back
            peers.append(run(self.peer)[0])
        where = (
            f"{median(ours) * 1000:.0f} ms against {median(peers) * 1000:.0f}; "
            f"CPU in ms: client {median(clients) * 1000:.0f}, {_shares(spent, rounds, 1e3)}; "
            f"the rest is {self.rest} and waiting"
        )
        return median(ours), median(peers), where

    def type(self, keys: int) -> tuple[float, float, str]:
        """Median seconds from a key to its echo, of ours and of the peer's, by turns, and where ours go."""
        with Terminal(*self.ours) as ours, Terminal(*self.peer) as theirs:
            for terminal in (ours, theirs):
                terminal.become_echo()
            samples: tuple[list[float], list[float]] = ([], [])
            letters = cycle(string.ascii_lowercase.encode())
            spent, client = self._spent(), Cpu(ours.process.pid)
            for _ in range(keys):
                for taken, terminal in zip(samples, (ours, theirs), strict=True):
                    time.sleep(PAUSE_SECONDS)
                    taken.append(terminal.echo(bytes((next(letters),))))
            own = sum(client.spent()) / keys * 1e6
            where = (
                f"{median(samples[0]) * 1e6:.0f} µs against {median(samples[1]) * 1e6:.0f}; "
                f"CPU a key in µs: client {own:.0f}, {_shares(spent, keys, 1e6)}; "
                f"the rest is {self.rest} and wake-ups"
            )
        return median(samples[0]), median(samples[1]), where

    def _spent(self) -> dict[str, Cpu]:
        return {name: Cpu(process) for name, process in self.through.items()}

    def _settle(self) -> None:
        """Waits until nobody has anything more to do."""
        deadline = time.monotonic() + SETTLING_SECONDS
        busy = True
        while busy and time.monotonic() < deadline:
            spent = self._spent()
            time.sleep(0.1)
            busy = any(sum(each.spent()) > 0.01 for each in spent.values())


def _shares(spent: dict[str, Cpu], times: int, unit: float) -> str:
    """What each process used for one of so many times."""
    shares = []
    for name, cpu in spent.items():
        loop, others = (each / times * unit for each in cpu.spent())
        shares.append(f"{name}'s event loop {loop:.0f}, its other threads {others:.0f}")
    return ", ".join(shares)


def run(way: Way) -> tuple[float, float]:
    """Seconds from the client's exec to its end, and those of its CPU time."""
    command, surroundings = way
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

"""Sessions through the ssh connector against `ssh -J` in the same run, by turns.

Both go to the same sshd, with the same cipher; ours is recorded and its client's leg is TLS. A client is a
process of its own, and its time counts from its exec. The window is open and the token known, as `jit exec`
leaves it.
"""

import os
import resource
import string
import subprocess
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from tests.bench.delay import delayed
from tests.bench.figure import Cpu, Figure
from tests.bench.peer import Peer, environment, running_peer
from tests.bench.terminal import Terminal
from tests.bench.world import NODE, World, request_access, running_world
from tests.processes import BIN

KEYS = 500
KEYS_FAR = 200
PAUSE_SECONDS = 0.005
"""Between keys: nobody types faster, and an echo never meets the one before it."""
FAR_SECONDS = 0.010
BULK_BYTES = 128 << 20
BULK_ROUNDS = 7
OPEN_ROUNDS = 25
SETTLING_SECONDS = 10.0

Way = tuple[list[str | Path], dict[str, str]]
"""A command line and its environment."""


@dataclass(frozen=True)
class Ways:
    """The two ways to run the same thing on the same node, and the gateway that ours goes through."""

    ours: Way
    peer: Way
    gateway: int

    def run(self, rounds: int) -> tuple[float, float, str]:
        """Median seconds of ours and of the peer's, by turns, and where ours go."""
        ours, peers, clients = [], [], []
        spent = Cpu(self.gateway)
        for _ in range(rounds):
            seconds, busy = run(self.ours)
            ours.append(seconds)
            clients.append(busy)
            self._settle()  # the recording is finished behind the client's back
            peers.append(run(self.peer)[0])
        loop, others = (each / rounds * 1000 for each in spent.spent())
        where = (
            f"{median(ours) * 1000:.0f} ms against {median(peers) * 1000:.0f}; "
            f"CPU: client {median(clients) * 1000:.0f}, gateway's event loop {loop:.0f}, "
            f"its other threads {others:.0f} ms; the rest is sshd's and waiting"
        )
        return median(ours), median(peers), where

    def _settle(self) -> None:
        """Waits until the gateway has nothing more to do."""
        deadline = time.monotonic() + SETTLING_SECONDS
        busy = True
        while busy and time.monotonic() < deadline:
            spent = Cpu(self.gateway)
            time.sleep(0.1)
            busy = sum(spent.spent()) > 0.01

    def type(self, keys: int) -> tuple[float, float, str]:
        """Median seconds from a key to its echo, of ours and of the peer's, by turns, and where ours go."""
        with Terminal(*self.ours) as ours, Terminal(*self.peer) as theirs:
            for terminal in (ours, theirs):
                terminal.become_echo()
            samples: tuple[list[float], list[float]] = ([], [])
            letters = cycle(string.ascii_lowercase.encode())
            gateway, client = Cpu(self.gateway), Cpu(ours.process.pid)
            for _ in range(keys):
                for taken, terminal in zip(samples, (ours, theirs), strict=True):
                    time.sleep(PAUSE_SECONDS)
                    taken.append(terminal.echo(bytes((next(letters),))))
            loop, others = (each / keys * 1e6 for each in gateway.spent())
            own = sum(client.spent()) / keys * 1e6
        where = (
            f"{median(samples[0]) * 1e6:.0f} µs against {median(samples[1]) * 1e6:.0f}; "
            f"CPU a key: client {own:.0f}, gateway's event loop {loop:.0f}, gRPC's threads {others:.0f} µs; "
            "the rest is sshd's and wake-ups"
        )
        return median(samples[0]), median(samples[1]), where


def rows() -> dict[str, Figure]:
    """By name."""
    with running_world() as world:
        channel = world.channel(world.alice)
        request_access(channel, NODE)
        channel.close()
        world.alice.jit("exec", NODE, "--", "true")  # leaves the token
        with running_peer(world.directory / "peer", world.sshd, world.user_ca) as peer:
            return _measure(world, peer)


def _measure(world: World, peer: Peer) -> dict[str, Figure]:
    near, near_theirs, near_where = _ways(world, peer, "shell").type(KEYS)
    far, far_theirs, far_where = _far(world, peer)
    opened, opened_theirs, opened_where = _ways(world, peer, "exec", "true").run(OPEN_ROUNDS)
    file = world.directory / "incompressible"
    file.write_bytes(os.urandom(BULK_BYTES))
    bulk, bulk_theirs, bulk_where = _ways(world, peer, "exec", f"cat {file}").run(BULK_ROUNDS)
    return {
        "ssh.keystroke_p50_vs_ssh_J": Figure(near / near_theirs, "ratio", near_where),
        "ssh.keystroke_p50_vs_ssh_J_20ms": Figure(far / far_theirs, "ratio", far_where),
        "ssh.exec_bulk_vs_ssh_J": Figure(bulk_theirs / bulk, "ratio", bulk_where),
        "ssh.open_first_byte_vs_ssh_J": Figure(opened / opened_theirs, "ratio", opened_where),
    }


def _ways(
    world: World, peer: Peer, kind: str, command: str = "", jump_port: int = 0, home: Path | None = None
) -> Ways:
    remote = ["--", command] if command else []
    options = ["-tt"] if kind == "shell" else []
    ours = world.alice.environment | ({"JIT_HOME": str(home)} if home else {})
    assert world.gateway.process is not None
    return Ways(
        ([BIN / "jit", kind, NODE, *remote], ours),
        ([*peer.command(*options, "target", *remote[1:], jump_port=jump_port)], environment()),
        world.gateway.process.pid,
    )


def _far(world: World, peer: Peer) -> tuple[float, float, str]:
    """Typing, with both clients 20 ms away from where they go first."""
    home = world.directory / "far"
    host, _, port = world.gateway.address.rpartition(":")
    with delayed(host, int(port), FAR_SECONDS) as near, delayed("127.0.0.1", peer.jump.port, FAR_SECONDS) as jump:
        profile = home / "default"
        profile.mkdir(parents=True)
        for file in (world.alice.home / ".jit" / "default").iterdir():
            content = file.read_text()
            (profile / file.name).write_text(content.replace(world.gateway.address, f"{host}:{near}"))
        return _ways(world, peer, "shell", jump_port=jump, home=home).type(KEYS_FAR)


def run(way: Way) -> tuple[float, float]:
    """Seconds from the client's exec to its end, and those of its CPU time."""
    command, surroundings = way
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

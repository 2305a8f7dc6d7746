"""Sessions through the ssh connector against `ssh -J` in the same run, by turns.

Both go to the same sshd, with the same cipher; ours is recorded and its client's leg is TLS. A client is a
process of its own, and its time counts from its exec. The window is open and the token known, as `jit exec`
leaves it.
"""

import os
import string
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from tests.bench.delay import delayed
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

Way = tuple[list[str | Path], dict[str, str]]
"""A command line and its environment."""


@dataclass(frozen=True)
class Ways:
    """The two ways to run the same thing on the same node."""

    ours: Way
    peer: Way

    def medians(self, measure: Callable[[Way], float], rounds: int) -> tuple[float, float]:
        """Ours and the peer's, by turns, so that whatever else the machine does meets both."""
        ours, peers = [], []
        for _ in range(rounds):
            ours.append(measure(self.ours))
            peers.append(measure(self.peer))
        return median(ours), median(peers)


def rows() -> dict[str, tuple[float, str]]:
    """Name of the row → value, unit."""
    with running_world() as world:
        channel = world.channel(world.alice)
        request_access(channel, NODE)
        channel.close()
        world.alice.jit("exec", NODE, "--", "true")  # leaves the token
        with running_peer(world.directory / "peer", world.sshd, world.user_ca) as peer:
            return _measure(world, peer)


def _measure(world: World, peer: Peer) -> dict[str, tuple[float, str]]:
    ours, theirs = keystrokes(_ways(world, peer, "shell"), KEYS)
    far_ours, far_theirs = far_keystrokes(world, peer)
    opened, opened_theirs = _ways(world, peer, "exec", "true").medians(seconds_of, OPEN_ROUNDS)
    bulk, bulk_theirs = _bulk(world, peer)
    return {
        "ssh.keystroke_p50_vs_ssh_J": (ours / theirs, "ratio"),
        "ssh.keystroke_p50_vs_ssh_J_20ms": (far_ours / far_theirs, "ratio"),
        "ssh.exec_bulk_vs_ssh_J": (bulk_theirs / bulk, "ratio"),
        "ssh.open_first_byte_vs_ssh_J": (opened / opened_theirs, "ratio"),
    }


def _ways(
    world: World, peer: Peer, kind: str, command: str = "", jump_port: int = 0, home: Path | None = None
) -> Ways:
    remote = ["--", command] if command else []
    options = ["-tt"] if kind == "shell" else []
    ours = world.alice.environment | ({"JIT_HOME": str(home)} if home else {})
    return Ways(
        ([BIN / "jit", kind, NODE, *remote], ours),
        ([*peer.command(*options, "target", *remote[1:], jump_port=jump_port)], environment()),
    )


def keystrokes(ways: Ways, keys: int) -> tuple[float, float]:
    """Median nanoseconds from a key to its echo: ours and the peer's."""
    with Terminal(*ways.ours) as ours, Terminal(*ways.peer) as theirs:
        for terminal in (ours, theirs):
            terminal.become_echo()
        samples: tuple[list[int], list[int]] = ([], [])
        letters = cycle(string.ascii_lowercase.encode())
        for _ in range(keys):
            for taken, terminal in zip(samples, (ours, theirs), strict=True):
                time.sleep(PAUSE_SECONDS)
                taken.append(terminal.echo_ns(bytes((next(letters),))))
        return median(samples[0]), median(samples[1])


def far_keystrokes(world: World, peer: Peer) -> tuple[float, float]:
    """As `keystrokes`, with both clients 20 ms away from where they go first."""
    home = world.directory / "far"
    host, _, port = world.gateway.address.rpartition(":")
    with delayed(host, int(port), FAR_SECONDS) as near, delayed("127.0.0.1", peer.jump.port, FAR_SECONDS) as jump:
        profile = home / "default"
        profile.mkdir(parents=True)
        for file in (world.alice.home / ".jit" / "default").iterdir():
            content = file.read_text()
            (profile / file.name).write_text(content.replace(world.gateway.address, f"{host}:{near}"))
        return keystrokes(_ways(world, peer, "shell", jump_port=jump, home=home), KEYS_FAR)


def _bulk(world: World, peer: Peer) -> tuple[float, float]:
    file = world.directory / "incompressible"
    file.write_bytes(os.urandom(BULK_BYTES))
    return _ways(world, peer, "exec", f"cat {file}").medians(seconds_of, BULK_ROUNDS)


def seconds_of(way: Way) -> float:
    """From the client's exec to its end."""
    command, surroundings = way
    began = time.perf_counter()
    subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began

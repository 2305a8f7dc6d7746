"""Sessions through the ssh connector against `ssh -J` in the same run, by turns.

Both go to the same sshd, with the same cipher; ours is recorded and its client's leg is TLS. The window is open
and the token known, as `jit exec` leaves it.
"""

import os
from pathlib import Path

from tests.bench.delay import delayed
from tests.bench.figure import Figure
from tests.bench.peer import Peer, environment, running_peer
from tests.bench.ways import Ways
from tests.bench.world import NODE, World, request_access, running_world
from tests.processes import BIN

KEYS = 500
KEYS_FAR = 200
FAR_SECONDS = 0.010
BULK_BYTES = 128 << 20
BULK_ROUNDS = 7
OPEN_ROUNDS = 25


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
        {"gateway": world.gateway.process.pid},
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

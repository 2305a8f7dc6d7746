"""What an agent takes at rest, then sessions through it against `ssh -J` in the same run, by turns.

Both run on this machine, under the same login; the agent dials the gateway over TLS, and ours is recorded.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.agents import AgentProcess
from tests.bench.figure import Cpu, Figure
from tests.bench.peer import Peer, environment, running_peer
from tests.bench.ways import Ways
from tests.bench.world import World, request_access, running_world
from tests.processes import BIN
from tests.sshd import current_login

NODE = "edge-1"
KEYS = 500
BULK_BYTES = 32 << 20
BULK_ROUNDS = 9
SETTLE_SECONDS = 5
IDLE_SECONDS = 30


def rows() -> dict[str, Figure]:
    """By name."""
    with running_world() as world, _running_agent(world) as agent:
        idle = _idle(agent)
        channel = world.channel(world.alice)
        request_access(channel, NODE)
        channel.close()
        world.alice.jit("exec", NODE, "--", "true")  # leaves the token
        with running_peer(world.directory / "peer", world.sshd, world.user_ca) as peer:
            return idle | _measure(world, peer, agent)


@contextlib.contextmanager
def _running_agent(world: World) -> Iterator[AgentProcess]:
    """An attached agent that alice may enter at once, until the block ends."""
    gateway = world.gateway
    options = ("--tag", "Environment=bench", "--login", current_login())
    made = world.alice.json("activations", "create", NODE, *options)
    agent = AgentProcess(world.directory / "agent")
    done = agent.register(
        gateway.sign_in_address, gateway.ca_fingerprint(), made["activation"]["id"], made["code"]
    )
    if done.returncode:
        raise RuntimeError(f"the agent did not register: {done.stderr}")
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()


def _idle(agent: AgentProcess) -> dict[str, Figure]:
    """Connected, without a session, and with none before."""
    assert agent.process is not None
    time.sleep(SETTLE_SECONDS)  # for what connecting began
    cpu, began = Cpu(agent.process.pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    loop, others = cpu.spent()
    seconds = time.monotonic() - began
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    rss, own, files = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon", "RssFile"))
    where = f"{loop * 1000:.0f} ms of its first thread, {others * 1000:.0f} ms of others in {seconds:.0f} s"
    return {
        "agent.idle_rss_mb": Figure(rss, "MB", f"{own:.1f} MB of its own, {files:.1f} MB of mapped files"),
        "agent.idle_cpu_percent": Figure(100 * (loop + others) / seconds, "%", where),
    }


def _measure(world: World, peer: Peer, agent: AgentProcess) -> dict[str, Figure]:
    key, key_theirs, key_where = _ways(world, peer, agent, ["shell", NODE], ["target"]).type(KEYS)
    file = world.directory / "incompressible"
    file.write_bytes(os.urandom(BULK_BYTES))
    command = f"stty raw; exec cat {file}"
    ours = ["exec", "--terminal", "--no-stdin", NODE, "--", command]
    bulk, bulk_theirs, bulk_where = _ways(world, peer, agent, ours, ["target", command]).run(BULK_ROUNDS)
    return {
        "agent.keystroke_p50_vs_ssh_J": Figure(key / key_theirs, "ratio", key_where),
        "agent.pty_bulk_vs_ssh_J": Figure(bulk_theirs / bulk, "ratio", bulk_where),
    }


def _ways(world: World, peer: Peer, agent: AgentProcess, ours: list[str], theirs: list[str]) -> Ways:
    """Both with a terminal on the far side."""
    assert world.gateway.process is not None and agent.process is not None
    return Ways(
        ([BIN / "jit", *ours], world.alice.environment),
        ([*peer.command("-tt", *theirs)], environment()),
        {"gateway": world.gateway.process.pid, "agent": agent.process.pid},
        "the terminal's",
    )

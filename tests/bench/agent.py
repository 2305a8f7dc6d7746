"""Sessions through the agent against `ssh -J` in the same run, by turns.

Both run on this machine, under the same login; the agent dials the gateway over TLS, and ours is recorded.
"""

import contextlib
import os
from collections.abc import Iterator

from tests.agents import AgentProcess
from tests.bench.figure import Figure
from tests.bench.peer import Peer, environment, running_peer
from tests.bench.ways import Ways
from tests.bench.world import World, request_access, running_world
from tests.processes import BIN
from tests.sshd import current_login

NODE = "edge-1"
KEYS = 500
BULK_BYTES = 32 << 20
BULK_ROUNDS = 9


def rows() -> dict[str, Figure]:
    """By name."""
    with running_world() as world, _running_agent(world) as agent:
        channel = world.channel(world.alice)
        request_access(channel, NODE)
        channel.close()
        world.alice.jit("exec", NODE, "--", "true")  # leaves the token
        with running_peer(world.directory / "peer", world.sshd, world.user_ca) as peer:
            return _measure(world, peer, agent)


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

"""What shells are kept alive in: a gateway, an agent, the network in between, and alice with a window."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.agents import AgentProcess
from tests.crash.resume.network import Network
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, Person
from tests.sshd import current_login

NODE = "edge-1"


@dataclass(frozen=True)
class World:
    """`alice` goes through the network to the gateway; everybody else is next to it."""

    on: Stage
    agent: AgentProcess
    network: Network
    alice: Person
    folder: Path

    @property
    def gateway(self) -> GatewayProcess:
        return self.on.gateway


@contextlib.contextmanager
def resume_world(folder: Path, **environment: str) -> Iterator[World]:
    """Everything runs, until the block ends; `environment` is the gateway's."""
    with contextlib.ExitStack() as undo:
        network = undo.enter_context(Network())
        gateway = GatewayProcess(
            folder / "gateway",
            environment={"JITGATE_AGENT_PUBLIC_ADDRESS": network.agent.address, **environment},
        )
        gateway.start()
        undo.callback(gateway.stop)
        network.agent.target, network.clients.target = gateway.agent_address, gateway.address
        on = undo.enter_context(stage(gateway, folder))
        agent = _joined(on, folder / "agent")
        agent.start()
        undo.callback(agent.stop)
        on.alice.person.jit("request", NODE, "--reason", "to stay")
        yield World(on, agent, network, _behind(network, on.alice.person, gateway), folder)


def _joined(on: Stage, folder: Path) -> AgentProcess:
    wanted = {"tags": {"Environment": "dev"}, "login": current_login(), "default_name": NODE}
    made = on.administrator.call("ActivationService/CreateActivation", **wanted)
    agent = AgentProcess(folder)
    gateway = on.gateway
    done = agent.register(
        gateway.sign_in_address, gateway.ca_fingerprint(), made["activation"]["id"], made["code"]
    )
    assert done.returncode == 0, done.stderr
    return agent


def _behind(network: Network, person: Person, gateway: GatewayProcess) -> Person:
    """The same person, whose jit knows the gateway by the proxy's address."""
    moved = Person(person.name, person.home.with_name(f"{person.name}-behind"))
    shutil.copytree(person.home, moved.home)
    for file in moved.home.glob(".jit/*/*"):
        file.write_text(file.read_text().replace(gateway.address, network.clients.address))
    return moved

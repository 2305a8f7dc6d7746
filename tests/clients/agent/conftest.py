"""A real gateway and real agents that joined it by an activation; and an agent in this process on a stand-in."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clients.agent import agent as running_agent
from clients.agent.agent import Agent
from tests.agents import AgentProcess
from tests.clients.agent.standin import StandIn, credentials, registered
from tests.e2e.live import Live
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for
from tests.sshd import current_login


@dataclass
class Fleet:
    """The stage, and nodes that joined it by themselves."""

    on: Stage
    folder: Path
    agents: list[AgentProcess] = field(default_factory=list)

    @property
    def gateway(self) -> GatewayProcess:
        return self.on.gateway

    def invite(self, name: str = "edge", **changes: Any) -> tuple[str, str]:
        """Id and code of an activation for nodes that alice may enter at once."""
        wanted = {"tags": {"Environment": "dev"}, "login": current_login(), "default_name": name, **changes}
        made = self.on.administrator.call("ActivationService/CreateActivation", **wanted)
        return made["activation"]["id"], made["code"]

    def register(self, agent: AgentProcess, activation: tuple[str, str]) -> "subprocess.CompletedProcess[str]":
        gateway = self.gateway
        return agent.register(gateway.sign_in_address, gateway.ca_fingerprint(), *activation)

    def joined(self, name: str, **changes: Any) -> AgentProcess:
        """A registered agent that does not run yet."""
        agent = AgentProcess(self.folder / name)
        done = self.register(agent, self.invite(name, **changes))
        assert done.returncode == 0, done.stderr
        self.agents.append(agent)
        return agent

    def close(self) -> None:
        """Ends what a test that failed has left behind."""
        for agent in self.agents:
            agent.kill()

    def node(self, agent: AgentProcess) -> dict[str, Any]:
        found: dict[str, Any] = self.on.administrator.call("NodeService/GetNode", node=agent.node_id)["node"]
        return found

    def connected(self, agent: AgentProcess) -> bool:
        return bool(self.node(agent).get("connected"))

    def session(self, agent: AgentProcess, command: str | None = None, **opening: Any) -> Live:
        """A session of alice in a fresh window."""
        request = self.on.alice.request(agent.node_id)
        assert request["status"] == "ACCESS_REQUEST_STATUS_APPROVED", request
        token = self.on.alice.token(request["id"])
        return Live(self.on.alice.client, token, agent.node_id, command, **opening)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    process = GatewayProcess(folder / "gateway")
    process.start()
    try:
        with stage(process, folder) as on, contextlib.closing(Fleet(on, folder)) as made:
            yield made
    finally:
        process.stop()


@pytest.fixture(scope="module")
def edge(fleet: Fleet) -> Iterator[AgentProcess]:
    """An agent that runs."""
    agent = fleet.joined("edge")
    agent.start()
    wait_for(lambda: fleet.connected(agent), what="the connection")
    yield agent
    agent.stop()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StandIn]:
    """One that does what a test wants."""
    credentials(tmp_path)
    standing = StandIn(tmp_path)
    await standing.start()
    yield standing
    await standing.stop()
    standing.let_go()


@pytest.fixture
async def agent(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """One that is attached to the stand-in, in this process."""
    monkeypatch.setattr(running_agent, "_SHORTEST_WAIT", 0.01)
    made = Agent(registered(gateway.folder, gateway), "0", 8)
    task = asyncio.create_task(made.run())
    try:
        await gateway.attached()
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

"""The agent connector, with a real agent, against the suite that every connector must pass."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents import AgentProcess
from tests.conformance.connectors import ConnectorSuite, Subject, eventually
from tests.gateway.nodes.agents.rig import running
from tests.sshd import current_login, unprivileged_login


class TestAgent(ConnectorSuite):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[Subject]:
        async with running(tmp_path) as rig:
            activation = await rig.invite()
            agent = AgentProcess(tmp_path / "agent")
            registered = await asyncio.to_thread(
                agent.register, rig.joining.address, rig.fingerprint, activation.id, rig.codes[activation.id]
            )
            assert registered.returncode == 0, registered.stderr
            agent.launch()
            try:
                node = await rig.node(agent.node_id)
                await eventually(lambda: rig.attachments.of(node.id) is not None, agent.log.read_text)
                # As many connections to the database as it will ever hold: they are not what a test counts.
                await asyncio.gather(*(rig.node(node.id) for _ in range(50)))
                login = unprivileged_login() or current_login()
                yield Subject(rig.connector, node, login, passes_signals=True, vanish=agent.kill)
            finally:
                await asyncio.to_thread(agent.stop)

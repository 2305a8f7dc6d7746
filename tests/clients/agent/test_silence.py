"""A gateway that a network swallows: the agent notices by itself, whatever TCP and gRPC say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clients.agent import agent as running_agent
from clients.agent.agent import Agent
from tests.clients.agent.standin import SESSION, StandIn, credentials, registered
from tests.conformance.connectors import eventually


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StandIn]:
    credentials(tmp_path)
    standing = StandIn(tmp_path, heartbeat_seconds=1, answer_seconds=3)
    await standing.start()
    yield standing
    await standing.stop()


@pytest.fixture
async def agent(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(running_agent, "_SHORTEST_WAIT", 0.01)
    task = asyncio.create_task(Agent(registered(gateway.folder, gateway), "0", 8).run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("agent")
async def test_a_gateway_that_answers_no_more_is_left_with_all_sessions_kept(gateway: StandIn) -> None:
    first = await gateway.attached()
    await eventually(lambda: first.heartbeats > 0)
    await (await gateway.order("cat")).start()
    gateway.is_mute = True
    again = await gateway.attached()
    assert list(again.hello.held) == [SESSION]


@pytest.mark.usefixtures("agent")
async def test_a_gateway_that_answers_is_not_left(gateway: StandIn) -> None:
    first = await gateway.attached()
    await eventually(lambda: first.heartbeats > 4)  # longer than it may be silent
    assert gateway.attachments.empty()
    assert not first.over.is_set()

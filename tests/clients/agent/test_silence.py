"""A gateway that a network swallows: the agent notices by itself, whatever TCP and gRPC say."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.agent.standin import SESSION, StandIn, credentials
from tests.conformance.connectors import eventually

_ANSWER_SECONDS = 3


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StandIn]:
    credentials(tmp_path)
    standing = StandIn(tmp_path, heartbeat_seconds=1, answer_seconds=_ANSWER_SECONDS)
    await standing.start()
    yield standing
    await standing.stop()
    standing.let_go()


@pytest.mark.usefixtures("agent")
async def test_a_gateway_that_answers_no_more_is_left_with_all_sessions_kept(gateway: StandIn) -> None:
    first = gateway.now
    assert first is not None
    await eventually(lambda: first.heartbeats > 0)
    await (await gateway.order("cat")).start()
    gateway.is_mute = True
    again = await gateway.attached()
    assert list(again.hello.held) == [SESSION]


@pytest.mark.usefixtures("agent")
async def test_a_gateway_that_answers_is_not_left(gateway: StandIn) -> None:
    first = gateway.now
    assert first is not None
    await eventually(lambda: first.heartbeats > _ANSWER_SECONDS + 1)  # longer than it may be silent
    assert gateway.attachments.empty()
    assert not first.over.is_set()

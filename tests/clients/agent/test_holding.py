"""Sessions that nobody carries: how long an agent holds them, how many, and what ends them."""

import asyncio
import signal

import grpc
import pytest

from clients.agent import session as sessions_of
from clients.agent.agent import Agent
from clients.agent.sessions import Sessions
from jitgate.v1.agent_pb2 import AgentMessage, SessionOrder
from tests.agents import AgentProcess
from tests.clients.agent.held import has_none, held
from tests.clients.agent.standin import SESSION, Serving, StandIn, logged, registered
from tests.conformance.connectors import eventually, is_alive
from tests.sshd import current_login

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def pids_of(serving: Serving, number: int) -> list[int]:
    await serving.until(lambda: serving.output.count(b"\n") >= number)
    return [int(line) for line in serving.output.split()]


@pytest.mark.rule("R25")
@pytest.mark.parametrize("is_held", [False, True])
async def test_an_end_order_kills_at_once(gateway: StandIn, agent: Agent, is_held: bool) -> None:
    serving = await gateway.order("(setsid sh -c 'echo $$; exec sleep 300' &); echo $$; exec sleep 300")
    await serving.start()
    both = await pids_of(serving, 2)
    if is_held:
        assert await gateway.away_and_back() == [SESSION]
    await gateway.end("s-" + "0" * 20)  # nobody knows it
    assert all(is_alive(each) for each in both)
    await gateway.end()
    await eventually(lambda: not any(is_alive(each) for each in both))
    await eventually(has_none(agent))
    assert agent._sessions._budget.used == 0
    await gateway.refused_to_resume(SESSION)
    assert await gateway.away_and_back() == []


@pytest.mark.rule("R25")
async def test_without_a_grace_a_session_ends_with_its_call(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", grace=0)
    await serving.start()
    (process,) = await pids_of(serving, 1)
    await gateway.refused_to_resume(SESSION)
    assert is_alive(process)
    serving.end(UNAVAILABLE)
    await eventually(lambda: not is_alive(process))
    other = await gateway.order("echo $$; exec sleep 300", grace=0)
    await other.start()
    (process,) = await pids_of(other, 1)
    assert await gateway.away_and_back() == []
    assert not is_alive(process)


@pytest.mark.rule("R25")
async def test_a_grace_that_is_over_kills_though_no_gateway_is_there(gateway: StandIn, agent: Agent) -> None:
    ahead = 0.0
    real = sessions_of.since_boot
    agent._sessions._clock = lambda: real() + ahead
    serving = await gateway.order("echo $$; exec sleep 300", grace=60)
    await serving.start()
    (process,) = await pids_of(serving, 1)
    await gateway.stop()
    await eventually(held(agent))
    assert is_alive(process)
    ahead = 60.0
    await eventually(lambda: not is_alive(process))
    await eventually(has_none(agent))
    await gateway.start()
    assert list((await gateway.attached()).hello.held) == []


@pytest.mark.rule("R25")
async def test_the_grace_goes_on_while_the_machine_sleeps(
    gateway: StandIn, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    real = sessions_of.since_boot
    agent._sessions._clock = lambda: real() + ahead
    serving = await gateway.order("echo $$; exec sleep 300", grace=3000)
    await serving.start()
    (process,) = await pids_of(serving, 1)
    serving.end(UNAVAILABLE)
    await eventually(held(agent))
    ahead = 3001.0
    await eventually(lambda: not is_alive(process))
    assert sessions_of._BOOT_CLOCK == 7  # CLOCK_BOOTTIME of Linux


@pytest.mark.rule("R25")
async def test_attempts_that_come_to_nothing_make_the_grace_no_longer(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", grace=2)
    await serving.start()
    (process,) = await pids_of(serving, 1)
    await gateway.resumed()  # and says nothing
    await eventually(lambda: not is_alive(process))
    await eventually(has_none(agent))


async def test_a_grace_begins_anew_after_each_cut(gateway: StandIn, agent: Agent) -> None:
    ahead = 0.0
    real = sessions_of.since_boot
    agent._sessions._clock = lambda: real() + ahead
    serving = await gateway.order("cat", grace=60)
    await serving.start()
    for number in range(4):
        serving.end(UNAVAILABLE)
        await eventually(held(agent))
        ahead += 50
        serving = await gateway.resumed()
        await serving.resume(number)
        ahead += 50
        await serving.write(number, b"x")
        await serving.until(lambda call=serving, want=number + 1: call.offset == want)


@pytest.mark.rule("R25")
async def test_the_lifetime_is_over_while_nobody_carries_the_session(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", lifetime_seconds=1)
    await serving.start()
    (process,) = await pids_of(serving, 1)
    await gateway.stop()
    await eventually(lambda: not is_alive(process))
    await gateway.start()
    assert list((await gateway.attached()).hello.held) == [SESSION]
    again = await gateway.resumed()
    await again.resume(0)
    assert (await again.ended()).signal == "KILL"
    assert int(again.output) == process


async def test_what_did_not_start_is_not_kept(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("true")
    assert await gateway.away_and_back() == []
    await eventually(has_none(agent))
    serving = await gateway.order("true")
    serving.end()
    await eventually(has_none(agent))
    await gateway.refused_to_resume(SESSION)


async def test_a_session_is_kept_once(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo first; read x")
    await serving.start()
    assert gateway.now is not None
    await gateway.now.say(
        order=SessionOrder(
            session_id=SESSION,
            nonce=bytes(16),
            login=current_login(),
            command="true",
            lifetime_seconds=9,
            grace_seconds=9,
        )
    )
    assert (await asyncio.wait_for(gateway.now.refused.get(), 10)).message == "it runs that session already"
    await serving.until(lambda: serving.output == b"first\n")


async def test_every_held_session_is_named_and_counts(gateway: StandIn, agent: Agent) -> None:
    names = [f"s-{number:020x}" for number in range(8)]
    for name in names:
        serving = await gateway.order("exec sleep 300", session_id=name)
        await serving.start()
    assert sorted(await gateway.away_and_back()) == names
    assert gateway.now is not None
    await gateway.now.say(order=SessionOrder(session_id=SESSION, nonce=bytes(16), login=current_login()))
    assert "takes no more" in (await asyncio.wait_for(gateway.now.refused.get(), 10)).message


class Nowhere:
    """A link that nothing goes over."""

    def __init__(self) -> None:
        self.said: list[AgentMessage] = []

    def dial(self) -> object:
        raise asyncio.InvalidStateError

    def say(self, message: AgentMessage) -> None:
        self.said.append(message)


async def test_no_more_sessions_are_taken_than_can_be_named() -> None:
    sessions = Sessions(10_000)
    link = Nowhere()
    for number in range(4097):
        order = SessionOrder(session_id=f"s-{number:020x}", login=current_login(), grace_seconds=0)
        sessions.begin(order, link)  # type: ignore[arg-type]  # a link for this test
    assert [message.refused.message for message in link.said] == ["it runs 4096 sessions and takes no more"]
    await sessions.close()
    assert sessions.held() == []


@pytest.mark.rule("R25")
async def test_an_agent_that_is_stopped_kills_what_it_holds(gateway: StandIn) -> None:
    state = registered(gateway.folder, gateway)
    process = AgentProcess(state.folder)
    process.launch()
    try:
        await gateway.attached()
        told = []
        for number in range(2):
            serving = await gateway.order("echo $$; exec sleep 300", session_id=f"s-{number:020x}")
            await serving.start()
            told += await pids_of(serving, 1)
            if number == 0:
                serving.end(UNAVAILABLE)  # one is held, one is carried
        await eventually(lambda: bool(logged(process.log.read_text(), "session_held")))
        assert all(is_alive(each) for each in told)
        assert process.process is not None
        process.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.process.wait, 20)
        assert not any(is_alive(each) for each in told)
        assert len(logged(process.log.read_text(), "session_ended")) == 2
    finally:
        process.kill()


async def test_a_killed_agent_leaves_nothing_that_it_held(gateway: StandIn) -> None:
    process = AgentProcess(registered(gateway.folder, gateway).folder)
    process.launch()
    try:
        await gateway.attached()
        serving = await gateway.order("echo $$; exec sleep 300")
        await serving.start()
        told = await pids_of(serving, 1)
        serving.end(UNAVAILABLE)
        await eventually(lambda: bool(logged(process.log.read_text(), "session_held")))
    finally:
        process.kill()
    await eventually(lambda: not any(is_alive(each) for each in told))

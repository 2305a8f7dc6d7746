"""Sessions that outlive their call: real processes, real gRPC, and a gateway that does what a test wants."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from clients.agent import agent as running_agent
from clients.agent import session as sessions_of
from clients.agent.agent import Agent
from clients.agent.flow import INPUT_WINDOW, KEPT_HIGH, LEAST_READ, OUTPUT_FLOOR
from clients.agent.sessions import Sessions
from jitgate.v1.agent_pb2 import (
    SESSION_REFUSAL_UNSPECIFIED,
    AgentMessage,
    ResumeOrder,
    SessionOrder,
)
from jitgate.v1.session_pb2 import Terminal
from tests.agents import AgentProcess
from tests.clients.agent.standin import SESSION, Serving, StandIn, credentials, logged, registered
from tests.conformance.connectors import eventually, is_alive, settled
from tests.sshd import current_login

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 300_001))
COUNT = "seq 1 300000"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StandIn]:
    credentials(tmp_path)
    standing = StandIn(tmp_path)
    await standing.start()
    yield standing
    await standing.stop()


@pytest.fixture
async def agent(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """One that is attached, in this process."""
    monkeypatch.setattr(running_agent, "_SHORTEST_WAIT", 0.01)
    made = Agent(registered(gateway.folder, gateway), "0", 8)
    task = asyncio.create_task(made.run())
    await gateway.attached()
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def away_and_back(gateway: StandIn) -> list[str]:
    """The gateway dies and comes back; which sessions the agent then names."""
    await gateway.stop()
    await gateway.start()
    return list((await gateway.attached()).hello.held)


def held(agent: Agent) -> Callable[[], bool]:
    """Whether the one session waits for a call."""
    (session,) = agent._sessions._tasks
    return lambda: session._carrier is None and session._expiring is not None


def has_none(agent: Agent) -> Callable[[], bool]:
    return lambda: not agent._sessions._tasks


async def pids(serving: Serving, number: int) -> list[int]:
    await serving.until(lambda: serving.output.count(b"\n") >= number)
    return [int(line) for line in serving.output.split()]


@pytest.mark.parametrize("seed", range(4))
async def test_output_is_exact_wherever_it_is_cut(gateway: StandIn, agent: Agent, seed: int) -> None:
    chance = random.Random(seed)
    serving = await gateway.order(COUNT)
    await serving.start()
    got = 0
    durable = 0
    for _ in range(12):
        goal = min(serving.offset + chance.randrange(300_000), len(NUMBERS))
        await serving.until(lambda at=goal, call=serving: call.offset >= at)
        begun = serving.offset - len(serving.output)
        assert serving.output == NUMBERS[begun : serving.offset]
        got = max(got, serving.offset)
        if chance.random() < 0.7:
            durable = chance.randrange(durable, serving.offset + 1)
            await serving.durable(durable)
        cut = chance.randrange(3)
        if cut == 0:
            assert await away_and_back(gateway) == [SESSION]
        elif cut == 1:
            serving.end(UNAVAILABLE)
        before, serving = serving, await gateway.resumed()
        await asyncio.wait_for(before.over.wait(), 10)  # also when nothing cut it
        assert serving.serve.oldest_output <= durable
        assert serving.serve.newest_output >= got
        await serving.resume(chance.randrange(durable, got + 1))
    await serving.until(lambda: serving.offset >= got)
    await serving.durable(got)
    assert (await serving.ended()).status == 0
    assert serving.offset == len(NUMBERS)
    assert serving.output == NUMBERS[len(NUMBERS) - len(serving.output) :]
    serving.end()
    await eventually(has_none(agent))


async def test_input_is_applied_once_wherever_it_is_cut(gateway: StandIn, agent: Agent) -> None:
    chance = random.Random(5)
    given = NUMBERS[:600_000]
    serving = await gateway.order("cat")
    await serving.start()
    sent = 0
    credit = serving.input_credit
    done = b""
    while sent < len(given):
        for _ in range(chance.randrange(1, 12)):
            size = min(chance.randrange(1, 40_000), credit + serving.granted, len(given) - sent)
            if size:
                await serving.write(sent, given[sent : sent + size])
                sent += size
                credit -= size
        if credit + serving.granted < 50_000:
            await serving.until(lambda call=serving, left=credit: left + call.granted >= 100_000)
        cut = chance.randrange(4)
        if cut == 0:
            assert await away_and_back(gateway) == [SESSION]
        elif cut == 1:
            serving.end(UNAVAILABLE)
        if cut < 3:
            done += bytes(serving.output)
            at = serving.offset
            serving = await gateway.resumed()
            assert serving.serve.input_offset <= sent
            sent = serving.serve.input_offset
            await serving.resume(at)
            credit = serving.input_credit
    await serving.eof()
    serving.end(UNAVAILABLE)
    done += bytes(serving.output)
    at = serving.offset
    serving = await gateway.resumed()
    if serving.serve.input_offset < sent:
        await serving.resume(at)
        await serving.write(serving.serve.input_offset, given[serving.serve.input_offset :])
    else:
        await serving.resume(at)
    await serving.eof()
    await serving.eof()
    assert (await serving.ended()).status == 0
    assert done + bytes(serving.output) == given


@pytest.mark.parametrize("kind", ["pipes", "terminal"])
async def test_keystrokes_go_on_after_a_cut(gateway: StandIn, agent: Agent, kind: str) -> None:
    terminal = Terminal(term="xterm", columns=80, rows=24) if kind == "terminal" else None
    command = "while read line; do echo got-$line; done; echo over >&2"
    serving = await gateway.order(command, terminal=terminal)
    await serving.start(100)
    for number in range(5):
        text = b"%d\n" % number
        await serving.write(2 * number, text)
        await serving.until(lambda call=serving, want=b"got-%d" % number: want in call.output)
        serving.end(UNAVAILABLE)
        before, serving = serving, await gateway.resumed()
        assert serving.serve.input_offset == 2 * number + 2
        await serving.resume(before.offset, 100)
    await serving.eof()
    assert (await serving.ended()).status == 0
    assert b"over" in serving.errors + serving.output


async def test_nothing_is_read_beyond_what_may_be_kept(gateway: StandIn, agent: Agent) -> None:
    """Not while a call is there and nothing is acknowledged, not while none is; then it goes on."""
    serving = await gateway.order("exec cat /dev/zero")
    await serving.start()
    await serving.until(lambda: serving.offset > KEPT_HIGH - LEAST_READ)
    (session,) = agent._sessions._tasks
    assert await settled(lambda: session.output.newest) <= KEPT_HIGH
    serving.end(UNAVAILABLE)
    await eventually(held(agent))
    assert await settled(lambda: session.output.newest) <= KEPT_HIGH
    again = await gateway.resumed()
    assert again.serve.oldest_output == 0 and again.serve.newest_output == session.output.newest
    await again.resume(KEPT_HIGH // 2)
    await again.until(lambda: again.offset == session.output.newest)
    await again.durable(again.offset)
    await again.until(lambda: again.offset > 2 * KEPT_HIGH - 2 * LEAST_READ)
    assert agent._sessions._budget.used == session.output.size <= KEPT_HIGH


async def test_keys_are_echoed_when_the_budget_is_spent(gateway: StandIn, agent: Agent) -> None:
    agent._sessions._budget.limit = 1000
    greedy = await gateway.order("exec cat /dev/zero", session_id="s-" + "1" * 20)
    await greedy.start()
    await greedy.until(lambda: greedy.offset > OUTPUT_FLOOR - LEAST_READ)
    modest = await gateway.order("cat")
    await modest.start()
    for number in range(20):
        await modest.write(4 * number, b"key\n")
        await modest.until(lambda want=4 * number + 4: modest.offset == want)
    assert await settled(lambda: greedy.offset) <= OUTPUT_FLOOR
    at = greedy.offset
    await greedy.durable(at)
    await greedy.until(lambda: greedy.offset > at + 100_000)


async def test_output_is_read_while_nobody_carries_the_session(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("read go; seq 1 1000; exit 3")
    await serving.start()
    await serving.write(0, b"\n")
    await gateway.stop()
    (session,) = agent._sessions._tasks
    await eventually(lambda: session._process is not None and session._process.status is not None)
    await gateway.start()
    assert list((await gateway.attached()).hello.held) == [SESSION]
    again = await gateway.resumed()
    await again.resume(0)
    assert (await again.ended()).status == 3
    assert again.output == b"".join(b"%d\n" % number for number in range(1, 1001))


async def test_exit_and_tail_are_kept_until_the_gateway_has_them(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo tail; kill -USR1 $$")
    await serving.start()
    assert (await serving.ended()).signal == "USR1"
    serving.end(UNAVAILABLE)  # after the exit, but not well
    await eventually(held(agent))
    assert await away_and_back(gateway) == [SESSION]
    for _ in range(2):
        again = await gateway.resumed()
        await again.resume(0)
        assert (await again.ended()).signal == "USR1" and again.output == b"tail\n"
    await again.durable(5)  # the acknowledgement may come after the exit
    again.end()
    await eventually(has_none(agent))
    assert agent._sessions._budget.used == 0
    assert await away_and_back(gateway) == []


@pytest.mark.parametrize("offset", [3, 11])
async def test_offsets_that_were_not_named_are_refused(
    gateway: StandIn, agent: Agent, offset: int, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = await gateway.order("printf 0123456789; read more; echo more; read x")
    await serving.start()
    await serving.until(lambda: serving.offset == 10)
    await serving.durable(4)
    again = await gateway.resumed()
    assert again.serve.newest_output == 10
    await again.say(resume={"output_offset": offset, "credit": 1000})
    await again.ends()
    assert again.frames == 0
    third = await gateway.resumed()  # the session is as it was
    assert (third.serve.oldest_output, third.serve.newest_output) == (4, 10)
    await third.resume(4)
    await third.until(lambda: third.output == b"456789")
    assert "session_broken" in capsys.readouterr().err


async def test_what_was_said_since_it_was_named_cannot_be_asked_for(
    gateway: StandIn, agent: Agent, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    serving = await gateway.order(f"printf 01234; until [ -e {go} ]; do sleep 0.01; done; printf 56789; read x")
    await serving.start()
    await serving.until(lambda: serving.offset == 5)
    again = await gateway.resumed()
    assert again.serve.newest_output == 5
    go.touch()
    (session,) = agent._sessions._tasks
    await eventually(lambda: session.output.newest == 10)
    await again.say(resume={"output_offset": 6, "credit": 1000})
    await again.ends()
    assert again.frames == 0
    third = await gateway.resumed()
    await third.resume(6)
    await third.until(lambda: third.output == b"6789")


@pytest.mark.parametrize("offset", [3, 11])
async def test_durable_backwards_or_beyond_is_refused(gateway: StandIn, agent: Agent, offset: int) -> None:
    serving = await gateway.order("printf 0123456789; read x")
    await serving.start()
    await serving.until(lambda: serving.offset == 10)
    await serving.durable(4)
    await serving.durable(offset)
    await serving.ends()
    again = await gateway.resumed()
    assert again.serve.oldest_output == 4
    await again.resume(4)
    await again.until(lambda: again.output == b"456789")


async def test_input_at_a_wrong_offset_is_refused_after_a_cut(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("cat")
    await serving.start()
    await serving.write(0, b"once ")
    await serving.until(lambda: serving.offset == 5)
    again = await gateway.resumed()
    await again.resume(5)
    await again.write(0, b"once ")
    await again.ends()
    third = await gateway.resumed()
    assert third.serve.input_offset == 5
    await third.resume(0)
    await third.eof()
    await third.ended()
    assert third.output == b"once "


async def test_a_fresh_credit_is_given_for_what_a_call_brings(gateway: StandIn, agent: Agent) -> None:
    """Credit that comes later never exceeds what the present call used, whatever an earlier one left behind."""
    serving = await gateway.order("read -r go < /dev/null; sleep 0.3; cat")
    await serving.start()
    await serving.write(0, NUMBERS[:INPUT_WINDOW])
    (session,) = agent._sessions._tasks
    await eventually(lambda: session._input.offset == INPUT_WINDOW)
    again = await gateway.resumed()
    await again.resume(0)
    assert again.input_credit == INPUT_WINDOW
    await again.until(lambda: again.offset == INPUT_WINDOW)
    assert again.granted == 0
    await again.write(INPUT_WINDOW, NUMBERS[INPUT_WINDOW : 2 * INPUT_WINDOW])
    await again.until(lambda: again.offset == 2 * INPUT_WINDOW)
    assert INPUT_WINDOW // 2 <= again.granted <= INPUT_WINDOW
    assert again.output == NUMBERS[: 2 * INPUT_WINDOW]


async def test_of_resumes_that_race_the_last_goes_on(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("printf 01234; cat")
    await serving.start()
    await serving.until(lambda: serving.offset == 5)
    assert gateway.now is not None
    nonces = [gateway.nonce() for _ in range(5)]
    for nonce in nonces:
        await gateway.now.say(resume=ResumeOrder(session_id=SESSION, nonce=nonce))
    last = await asyncio.wait_for(gateway.calls[nonces[-1]], 10)
    await last.resume(2)
    await last.until(lambda: last.output == b"234")
    for nonce in nonces[:-1]:
        if gateway.calls[nonce].done():
            earlier = gateway.calls[nonce].result()
            await earlier.ends()
            assert earlier.frames == 0
    await last.write(0, b"on")
    await last.until(lambda: last.output == b"234on")
    # One that came to nothing took the call away, and the session waits as after any cut.
    lame = await gateway.resumed()
    lame.end()
    await eventually(held(agent))
    again = await gateway.resumed()
    await again.resume(7)


@pytest.mark.rule("R25")
@pytest.mark.parametrize("is_held", [False, True])
async def test_an_end_order_kills_at_once(gateway: StandIn, agent: Agent, is_held: bool) -> None:
    serving = await gateway.order("(setsid sh -c 'echo $$; exec sleep 300' &); echo $$; exec sleep 300")
    await serving.start()
    both = await pids(serving, 2)
    if is_held:
        assert await away_and_back(gateway) == [SESSION]
    await gateway.end("s-" + "0" * 20)  # nobody knows it
    assert all(is_alive(each) for each in both)
    await gateway.end()
    await eventually(lambda: not any(is_alive(each) for each in both))
    await eventually(has_none(agent))
    assert agent._sessions._budget.used == 0
    await refused_to_resume(gateway, SESSION)
    assert await away_and_back(gateway) == []


async def refused_to_resume(gateway: StandIn, session_id: str) -> None:
    assert gateway.now is not None
    nonce = gateway.nonce()
    await gateway.now.say(resume=ResumeOrder(session_id=session_id, nonce=nonce))
    refused = await asyncio.wait_for(gateway.now.refused.get(), 10)
    assert (refused.nonce, refused.reason) == (nonce, SESSION_REFUSAL_UNSPECIFIED)


@pytest.mark.rule("R25")
async def test_without_a_grace_a_session_ends_with_its_call(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", grace=0)
    await serving.start()
    (process,) = await pids(serving, 1)
    await refused_to_resume(gateway, SESSION)
    assert is_alive(process)
    serving.end(UNAVAILABLE)
    await eventually(lambda: not is_alive(process))
    other = await gateway.order("echo $$; exec sleep 300", grace=0)
    await other.start()
    (process,) = await pids(other, 1)
    assert await away_and_back(gateway) == []
    assert not is_alive(process)


@pytest.mark.rule("R25")
async def test_a_grace_that_is_over_kills_though_no_gateway_is_there(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", grace=1)
    await serving.start()
    (process,) = await pids(serving, 1)
    await gateway.stop()
    await eventually(held(agent))
    assert is_alive(process)
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
    (process,) = await pids(serving, 1)
    serving.end(UNAVAILABLE)
    await eventually(held(agent))
    ahead = 3001.0
    await eventually(lambda: not is_alive(process))
    assert sessions_of._BOOT_CLOCK == 7  # CLOCK_BOOTTIME of Linux


@pytest.mark.rule("R25")
async def test_attempts_that_come_to_nothing_make_the_grace_no_longer(gateway: StandIn, agent: Agent) -> None:
    serving = await gateway.order("echo $$; exec sleep 300", grace=2)
    await serving.start()
    (process,) = await pids(serving, 1)
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
    (process,) = await pids(serving, 1)
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
    assert await away_and_back(gateway) == []
    await eventually(has_none(agent))
    serving = await gateway.order("true")
    serving.end()
    await eventually(has_none(agent))
    await refused_to_resume(gateway, SESSION)


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
    assert sorted(await away_and_back(gateway)) == names
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


async def test_an_end_of_input_that_is_told_again_ends_nothing_more(gateway: StandIn, agent: Agent) -> None:
    terminal = Terminal(term="xterm", columns=80, rows=24)
    serving = await gateway.order("cat; echo one; cat; echo two", terminal=terminal)
    await serving.start()
    await serving.eof()
    await serving.until(lambda: b"one" in serving.output)
    again = await gateway.resumed()
    await again.resume(0)
    await again.eof()
    await again.eof()
    await again.say(resize={"columns": 90, "rows": 20})  # comes after them
    (session,) = agent._sessions._tasks
    assert await settled(lambda: session.output.newest) == serving.offset
    await gateway.end()


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
            told += await pids(serving, 1)
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
        told = await pids(serving, 1)
        serving.end(UNAVAILABLE)
        await eventually(lambda: bool(logged(process.log.read_text(), "session_held")))
    finally:
        process.kill()
    await eventually(lambda: not any(is_alive(each) for each in told))

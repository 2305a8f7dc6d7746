"""Sessions that outlive their call, to the byte: real processes and gRPC, and a gateway as a test wants it."""

import asyncio
import random
from pathlib import Path

import grpc
import pytest

from clients.agent.agent import Agent
from clients.agent.flow import INPUT_WINDOW, KEPT_HIGH, LEAST_READ, OUTPUT_FLOOR
from jitgate.v1.agent_pb2 import ResumeOrder
from jitgate.v1.session_pb2 import Terminal
from tests.clients.agent.held import has_none, held
from tests.clients.agent.standin import SESSION, StandIn
from tests.conformance.connectors import eventually, settled

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 300_001))
COUNT = "seq 1 300000"


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
            assert await gateway.away_and_back() == [SESSION]
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
            assert await gateway.away_and_back() == [SESSION]
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
    assert await gateway.away_and_back() == [SESSION]
    for _ in range(2):
        again = await gateway.resumed()
        await again.resume(0)
        assert (await again.ended()).signal == "USR1" and again.output == b"tail\n"
    await again.durable(5)  # the acknowledgement may come after the exit
    again.end()
    await eventually(has_none(agent))
    assert agent._sessions._budget.used == 0
    assert await gateway.away_and_back() == []


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


async def test_an_end_of_input_that_is_told_again_ends_nothing_more(gateway: StandIn, agent: Agent) -> None:
    terminal = Terminal(term="xterm", columns=80, rows=24)
    serving = await gateway.order("cat; echo one; cat; echo two", terminal=terminal)
    await serving.start()
    await serving.eof()
    await serving.until(lambda: b"one\r\n" in serving.output)  # a terminal gives the two to readers one by one
    again = await gateway.resumed()
    await again.resume(0)
    await again.eof()
    await again.eof()
    await again.say(resize={"columns": 90, "rows": 20})  # comes after them
    (session,) = agent._sessions._tasks
    assert await settled(lambda: session.output.newest) == serving.offset
    await gateway.end()

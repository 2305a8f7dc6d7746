"""The two loops, with a client and a node in this process."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import pytest

from gateway.errors import Refused
from gateway.nodes.ports import Exited, OpenUpstream, UpstreamKind
from gateway.sessions.flow import INPUT_WINDOW, Budget
from gateway.sessions.model import End, Ending
from gateway.sessions.pump import FAREWELL_SECONDS, Pump
from gateway.sessions.relay import COALESCE_SECONDS, Relay, Steady
from tests.gateway.sessions.client import Client, data, eof, until, window
from tests.gateway.sessions.journals import Remembering
from tests.gateway.sessions.nodes import NodeSession


class Running:
    """A session that is being pumped."""

    def __init__(self, credit: int = 1 << 20, *, strict: bool = True, steady: Steady = time.monotonic) -> None:
        self.client = Client()
        self.node = NodeSession(OpenUpstream("root", UpstreamKind.SHELL, "alice", "s-1", "oi-1", 60))
        self.journal = Remembering()
        self.budget = Budget()
        self.relay = Relay(
            self.node, self.journal, credit=credit, budget=self.budget, steady=steady, strict=strict
        )
        self.call = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.node.start(self.relay)
        await Pump(self.relay, self.client, self.client).run()

    async def over(self) -> Ending:
        async with asyncio.timeout(30):
            await self.call
        assert self.relay.ending is not None
        return self.relay.ending


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    started = Running()
    await until(lambda: started.node.is_started)
    yield started
    started.call.cancel()
    await asyncio.gather(started.call, return_exceptions=True)
    assert started.budget.used == 0
    assert len(asyncio.all_tasks()) == 1


async def test_an_echo_and_an_exit(running: Running) -> None:
    running.client.say(data(b"echo hi\n"))
    await until(lambda: running.node.input == b"echo hi\n")
    running.node.say(b"hi\n")
    running.node.exits(Exited(3))
    assert await running.over() == Ending(End.EXITED, status=3)
    assert running.client.output() == b"hi\n"
    assert running.client.exit is not None
    assert running.client.exit.status == 3
    assert running.journal.kinds() == ["input", "output", "exit"]


async def test_bulk_arrives_whole_and_in_few_frames(running: Running) -> None:
    running.client.say(window(8 << 20))
    for number in range(1000):
        running.node.say(bytes([number % 256]) * 4096)
    running.node.exits(Exited(0))
    await running.over()
    assert running.client.output() == b"".join(bytes([number % 256]) * 4096 for number in range(1000))
    assert len(running.client.frames) < 100


async def test_output_that_becomes_due_while_the_pump_goes_to_wait_is_sent() -> None:
    moments = itertools.count()
    running = Running(steady=lambda: next(moments) * COALESCE_SECONDS * 0.4)
    await until(lambda: running.node.is_started)
    for number in range(1, 20):
        running.node.say(b"x")
        await until(lambda: len(running.client.output()) == number)  # noqa: B023 - awaited within the turn
    running.node.exits(Exited(0))
    await running.over()


async def test_input_goes_on_while_the_client_reads_nothing(running: Running) -> None:
    running.client.reads.clear()
    running.node.say(b"stuck")
    running.client.say(data(b"exit\n"), eof())
    await until(lambda: running.node.eof)
    assert running.node.input == b"exit\n"
    running.client.reads.set()
    running.node.exits(Exited(0))
    await running.over()
    assert running.client.output() == b"stuck"


async def test_a_node_that_takes_nothing_gets_no_more_than_a_window(running: Running) -> None:
    running.node.room.clear()
    running.client.say(data(bytes(INPUT_WINDOW)))
    await until(lambda: len(running.node.input) == INPUT_WINDOW)
    await until(lambda: running.budget.used)
    assert "window" not in running.client.kinds()
    running.node.room.set()
    await until(lambda: "window" in running.client.kinds())
    assert running.client.frames[-1].window.credit == INPUT_WINDOW
    running.client.say(data(b"x", INPUT_WINDOW))
    await until(lambda: len(running.node.input) == INPUT_WINDOW + 1)


async def test_a_client_that_hangs_up_only_ends_the_input(running: Running) -> None:
    running.client.hang_up()
    await until(lambda: running.node.eof)
    running.node.say(b"the answer")
    running.node.exits(Exited(0))
    assert (await running.over()).end is End.EXITED
    assert running.client.output() == b"the answer"


async def test_a_client_that_vanishes_mid_line(running: Running) -> None:
    running.client.say(data(b"rm -r"))
    running.client.vanish()
    assert (await running.over()).end is End.CLIENT_GONE
    assert running.node.is_closed
    assert running.journal.entries == [("input", b"rm -r", 0)]


async def test_a_call_that_is_cancelled_is_a_client_that_is_gone(running: Running) -> None:
    running.call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.over()
    assert running.relay.ending is not None
    assert running.relay.ending.end is End.CLIENT_GONE
    assert running.node.is_closed


@pytest.mark.parametrize("frame", [data(b"x", 1), data(bytes(300_000)), window(0)])
async def test_broken_frames_end_the_call(running: Running, frame: object) -> None:
    running.client.say(frame)  # type: ignore[arg-type]  # pytest's parameters are objects
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        await running.over()
    assert running.node.is_closed


@pytest.mark.alone
@pytest.mark.rule("R25")
async def test_a_client_that_reads_nothing_cannot_hold_its_end_up(running: Running) -> None:
    running.client.reads.clear()
    running.node.say(b"stuck")
    await asyncio.sleep(0)
    began = time.monotonic()
    running.relay.end(Ending(End.REVOKED, "revoked"))
    assert running.node.is_closed
    assert (await running.over()).end is End.REVOKED
    # The product's deadline is a second; the farewell is 0.4 of it.
    assert FAREWELL_SECONDS <= time.monotonic() - began < 1.0


async def test_durable_is_awaited_in_both_directions(running: Running) -> None:
    running.client.say(data(b"x"))
    await until(lambda: running.node.input)
    assert running.journal.waits == 1
    running.node.say(b"y")
    await until(lambda: running.client.output() == b"y")
    assert running.journal.waits == 2


@pytest.mark.rule("R27")
async def test_a_sync_that_fails_keeps_back_what_it_was_to_make_durable(running: Running) -> None:
    running.node.say(b"written but not durable")
    running.journal.failure = "fdatasync: input/output error"
    ending = await running.over()
    assert ending.end is End.RECORDING_FAILED
    assert running.client.output() == b""
    assert running.node.is_closed

"""Agents that go away and come back with what they kept, honest ones and others."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from gateway.errors import Refused
from gateway.nodes.agents import attachments
from gateway.nodes.agents.kept import MAX_KILLED
from gateway.nodes.errors import NodeUnreachable
from gateway.nodes.ports import Exited, Lost, ResumableUpstream
from jitgate.v1.agent_pb2 import (
    SESSION_REFUSAL_UNSPECIFIED,
    AgentHello,
    AgentMessage,
    NodeExit,
    NodeFrame,
    ResumeOrder,
    SessionRefused,
)
from jitgate.v1.session_pb2 import SessionData
from tests.conformance.connectors import eventually
from tests.gateway.nodes.agents.puppet import REQUEST, RUNNING, SECONDS, Puppet, Sink, attached, ended
from tests.gateway.nodes.agents.rig import Joined, Rig
from tests.refusals import say

SESSION = REQUEST.session_id
pytestmark = pytest.mark.rule("R33")


class Told:
    """Writes down what agents are said to hold; stops there while it is closed."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[str]]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def held(self, node_id: str, session_ids: Sequence[str]) -> None:
        self.heard.append((node_id, list(session_ids)))
        await self.is_open.wait()


@pytest.fixture
def told(rig: Rig) -> Told:
    holders = Told()
    rig.attachments.tell(holders)
    return holders


async def leave(puppet: Puppet) -> None:
    puppet.control.cancel()
    await eventually(lambda: puppet.rig.attachments.of(puppet.joined.node.id) is None)


async def resumed(puppet: Puppet, **serve: int) -> Any:
    """Comes for the session; the call, and the offset that output is wanted from."""
    order: ResumeOrder = await puppet.told("resume")
    assert order.session_id == SESSION
    call = await puppet.serve(order, **serve)
    frame = await asyncio.wait_for(call.read(), SECONDS)
    await call.write(RUNNING)
    return call, frame.resume.output_offset


def data(offset: int, payload: bytes) -> NodeFrame:
    return NodeFrame(data=SessionData(offset=offset, payload=payload))


async def test_an_agent_that_comes_back_goes_on(puppet: Puppet, told: Told) -> None:
    call, upstream, sink = await puppet.session(grace_seconds=60)
    await call.write(data(0, b"before "))
    await eventually(lambda: bool(sink.out))
    await leave(puppet)
    assert await ended(call) in {"UNAVAILABLE", "CANCELLED"}
    assert sink.heard == ["suspended"] and sink.end is None
    async with attached(puppet.joined, held=[SESSION]) as again:
        call, offset = await resumed(again, newest_output=10)
        assert offset == 7
        await call.write(data(7, b"and after"))
        await call.write(NodeFrame(exit=NodeExit(status=3)))
        await call.done_writing()
        await eventually(lambda: sink.end == Exited(3))
        assert (bytes(sink.out), sink.heard) == (b"before and after", ["suspended", "resumed"])
        upstream.acknowledged(16)
        assert (await asyncio.wait_for(call.read(), SECONDS)).durable.offset == 16
        upstream.release()
        assert await ended(call) == "OK"
    assert told.heard == []


async def test_a_call_that_breaks_alone_is_asked_for_again_and_so_is_one_that_ended_before_its_time(
    puppet: Puppet,
) -> None:
    call, upstream, sink = await puppet.session(grace_seconds=60)
    call.cancel()
    call, _ = await resumed(puppet)
    await call.done_writing()
    call, _ = await resumed(puppet)
    assert sink.heard[:3] == ["suspended", "resumed", "suspended"]
    await call.write(NodeFrame(exit=NodeExit(status=0)))
    await eventually(lambda: sink.end == Exited(0))
    call.cancel()
    sink.forget_end()
    upstream.rewind(0)
    call, _ = await resumed(puppet)
    await call.write(NodeFrame(exit=NodeExit(status=0)))
    await eventually(lambda: sink.end == Exited(0))
    upstream.rewind(0)
    assert await ended(call) == "ABORTED"


@pytest.mark.parametrize("held", [[], ["s-ffffffffffffffffffff"]])
async def test_what_an_agent_does_not_bring_back_is_lost(puppet: Puppet, held: list[str]) -> None:
    _, upstream, sink = await puppet.session(grace_seconds=60)
    await leave(puppet)
    async with attached(puppet.joined, held=held):
        await eventually(lambda: isinstance(sink.end, Lost))
        await upstream.wait_closed()


async def test_what_an_agent_will_not_go_on_with_is_lost(puppet: Puppet) -> None:
    call, _, sink = await puppet.session(grace_seconds=60)
    call.cancel()
    order = await puppet.told("resume")
    refused = SessionRefused(nonce=order.nonce, reason=SESSION_REFUSAL_UNSPECIFIED, message="no\x1b[2J")
    await puppet.say(refused=refused)
    await eventually(lambda: sink.end == Lost("the agent does not serve the session: no[2J"))


async def test_a_session_without_grace_is_not_waited_for(puppet: Puppet) -> None:
    _, _, sink = await puppet.session()
    await leave(puppet)
    assert isinstance(sink.end, Lost) and sink.heard == []


async def test_a_session_that_was_closed_is_killed_now_and_when_its_agent_is_back(
    puppet: Puppet, told: Told
) -> None:
    _, upstream, sink = await puppet.session(grace_seconds=60)
    upstream.close()
    assert (await puppet.told("end")).session_id == SESSION
    await leave(puppet)
    async with attached(puppet.joined, held=[SESSION]) as again:  # it did not hear of it
        assert (await again.told("end")).session_id == SESSION
        _, upstream, _ = await again.session(grace_seconds=60)
        await leave(again)
        upstream.close()
    async with attached(puppet.joined, held=[SESSION]) as again:
        assert (await again.told("end")).session_id == SESSION
        await leave(again)
    async with attached(puppet.joined) as again:  # and now it has
        await leave(again)
    async with attached(puppet.joined, held=[SESSION]):
        await eventually(lambda: told.heard == [(puppet.joined.node.id, [SESSION])])
    assert sink.end is None


async def test_a_gateway_that_stops_leaves_the_session_where_it_is(puppet: Puppet, told: Told) -> None:
    call, upstream, sink = await puppet.session(grace_seconds=60)
    upstream.leave()
    upstream.close()
    assert await ended(call) == "UNAVAILABLE"
    await leave(puppet)
    async with attached(puppet.joined, held=[SESSION]) as again:
        await eventually(lambda: told.heard == [(puppet.joined.node.id, [SESSION])])
        await again.session(session_id="s-00000000000000000000")  # nothing was said before this order
    assert (sink.heard, sink.end) == ([], None)


# -- what another process began -----------------------------------------------------------------------------------


def adopting(
    puppet: Puppet, sink: Sink, session_id: str = SESSION, recorded: int = 10, recorded_input: int | None = 4
) -> "asyncio.Task[ResumableUpstream]":
    adopt = puppet.rig.connector.adopt(
        puppet.joined.node,
        session_id,
        recorded=recorded,
        recorded_input=recorded_input,
        grace_seconds=60,
        sink=sink,
    )
    return asyncio.create_task(adopt)


async def test_a_session_that_nobody_knows_is_adopted(rig: Rig, told: Told) -> None:
    joined = await rig.join(await rig.invite())
    sink = Sink()
    async with attached(joined, held=[SESSION, SESSION]) as puppet:
        await eventually(lambda: told.heard == [(joined.node.id, [SESSION])])
        adoption = adopting(puppet, sink)
        call, offset = await resumed(puppet, oldest_output=4, newest_output=12, input_offset=3)
        assert offset == 10
        await call.write(data(10, b"kl"))
        upstream = await asyncio.wait_for(adoption, SECONDS)
        await eventually(lambda: sink.out == b"kl")
        assert (upstream.oldest, upstream.input_offset, sink.heard) == (4, 3, [])
        upstream.write(b"x")
        assert (await asyncio.wait_for(call.read(), SECONDS)).data == SessionData(offset=3, payload=b"x")
        with pytest.raises(ValueError, match="here already"):
            await adopting(puppet, sink)
        await leave(puppet)
    async with attached(joined, held=[SESSION]) as puppet:
        call, offset = await resumed(puppet, oldest_output=4, newest_output=12, input_offset=4)
        assert offset == 12
    assert len(told.heard) == 1


async def test_what_was_typed_is_the_nodes_to_say_where_nobody_knows(puppet: Puppet) -> None:
    sink = Sink()
    adoption = adopting(puppet, sink, recorded_input=None)
    call, _ = await resumed(puppet, oldest_output=4, newest_output=12, input_offset=9)
    upstream = await asyncio.wait_for(adoption, SECONDS)
    assert (upstream.newest, upstream.input_offset) == (12, 9)
    upstream.write(b"x")
    assert (await asyncio.wait_for(call.read(), SECONDS)).data == SessionData(offset=9, payload=b"x")


async def test_but_not_beyond_all_measure(puppet: Puppet) -> None:
    adoption = adopting(puppet, Sink(), recorded_input=None)
    await puppet.serve(await puppet.told("resume"), oldest_output=4, newest_output=12, input_offset=2**64 - 1)
    with pytest.raises(Refused, match="UPSTREAM_FAILED"):
        await asyncio.wait_for(adoption, SECONDS)


@pytest.mark.parametrize(
    "serve",
    [
        {"newest_output": 9},
        {"oldest_output": 11, "newest_output": 12},
        {"newest_output": 12, "input_offset": 5},
        {"oldest_output": 2**64 - 1, "newest_output": 2**64 - 1},
    ],
)
async def test_what_does_not_fit_is_not_adopted_and_killed(puppet: Puppet, serve: dict[str, int]) -> None:
    sink = Sink()
    adoption = adopting(puppet, sink)
    call = await puppet.serve(await puppet.told("resume"), **serve)
    with pytest.raises(Refused, match="UPSTREAM_FAILED"):
        await asyncio.wait_for(adoption, SECONDS)
    assert await ended(call) == "INVALID_ARGUMENT"
    assert (await puppet.told("end")).session_id == SESSION
    assert (sink.end, sink.heard) == (None, [])


async def test_who_is_not_there_adopts_nothing(puppet: Puppet) -> None:
    adoption = adopting(puppet, Sink())
    order = await puppet.told("resume")
    await puppet.say(refused=SessionRefused(nonce=order.nonce, reason=SESSION_REFUSAL_UNSPECIFIED))
    with pytest.raises(Refused, match="UPSTREAM_FAILED"):
        await asyncio.wait_for(adoption, SECONDS)
    given_up = adopting(puppet, Sink())
    order = await puppet.told("resume")
    given_up.cancel()
    await asyncio.wait([given_up])
    assert await ended(await puppet.serve(order, newest_output=10)) == "FAILED_PRECONDITION"
    await leave(puppet)
    with pytest.raises(NodeUnreachable):
        await adopting(puppet, Sink())


async def test_an_adoption_outlives_a_connection(puppet: Puppet) -> None:
    adoption = adopting(puppet, Sink())
    await puppet.told("resume")
    await leave(puppet)
    async with attached(puppet.joined, held=[SESSION]) as again:
        await resumed(again, newest_output=10)
        upstream = await asyncio.wait_for(adoption, SECONDS)
        upstream.close()


# -- liars --------------------------------------------------------------------------------------------------------


async def test_naming_somebody_elses_session_gives_nothing(puppet: Puppet, told: Told) -> None:
    _, _, sink = await puppet.session(grace_seconds=60)
    await leave(puppet)
    stranger_joined: Joined = await puppet.rig.join(await puppet.rig.invite())
    async with attached(stranger_joined, held=[SESSION]) as stranger:
        # It is told with the stranger's node, which the session is not of; and the stranger is asked for nothing.
        await eventually(lambda: told.heard == [(stranger_joined.node.id, [SESSION])])
        puppet.rig.connector.end(stranger_joined.node.id, SESSION)
        assert (await stranger.told("end")).session_id == SESSION
        async with attached(puppet.joined, held=[SESSION]) as again:
            order = await again.told("resume")
            assert await ended(await stranger.serve(order)) == "FAILED_PRECONDITION"
            call = await again.serve(order)
            assert (await asyncio.wait_for(call.read(), SECONDS)).HasField("resume")
            assert await ended(await again.serve(order)) == "FAILED_PRECONDITION"  # a nonce works once
            await call.write(RUNNING)
            await eventually(lambda: sink.heard == ["suspended", "resumed"])
            assert sink.end is None


async def test_a_lie_about_what_is_kept_kills_the_session(puppet: Puppet) -> None:
    call, _, sink = await puppet.session(grace_seconds=60)
    await call.write(data(0, b"abc"))
    await eventually(lambda: bool(sink.out))
    call.cancel()
    call = await puppet.serve(await puppet.told("resume"), newest_output=2)
    assert await ended(call) == "INVALID_ARGUMENT"
    assert isinstance(sink.end, Lost)
    assert (await puppet.told("end")).session_id == SESSION


async def test_as_many_as_there_may_be_are_told_and_one_more_is_too_many(rig: Rig, told: Told) -> None:
    joined = await rig.join(await rig.invite())
    names = [f"s-{number:020x}" for number in range(4096)]
    async with attached(joined, held=[*names[:4000], *names[:96]]) as puppet:
        await eventually(lambda: told.heard == [(joined.node.id, names[:4000])])
        for name in names:
            rig.connector.end(joined.node.id, name)
        assert len(rig.attachments.kept._killed[joined.node.id]) == MAX_KILLED
        for name in names:
            assert (await puppet.told("end")).session_id == name
        await leave(puppet)
    for wrong in ([*names, "s-ffffffffffffffffffff"], ["s-FFFFFFFFFFFFFFFFFFFF"], ["x"]):
        async with joined.dialled() as stub:
            control = stub.Attach()
            await say(control, AgentMessage(hello=AgentHello(protocol=1, held=wrong)))
            assert await ended(control) == "INVALID_ARGUMENT"
    assert len(told.heard) == 1


async def test_one_that_connects_all_the_time_is_slowed_down_and_asked_about_once(
    rig: Rig, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How fast a test can connect says nothing about the pace: without more from time, any machine is too fast.
    monkeypatch.setattr(attachments, "_CONNECTIONS_PER_SECOND", 0.0)
    joined = await rig.join(await rig.invite())
    told.is_open.clear()
    taken, refused = [], 0
    async with joined.dialled() as stub:
        for number in range(15):
            name = f"s-{number:020x}"
            control = stub.Attach()
            await control.write(AgentMessage(hello=AgentHello(protocol=1, held=[name])))
            try:
                await control.read()
            except grpc.aio.AioRpcError as error:
                refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                continue
            control.cancel()
            taken.append(name)
            await eventually(lambda: rig.attachments.of(joined.node.id) is None)
    assert (len(taken), refused) == (10, 5)
    assert told.heard == [(joined.node.id, taken[:1])]
    told.is_open.set()
    await eventually(lambda: told.heard[1:] == [(joined.node.id, taken[-1:])])


async def test_many_sessions_come_back_and_leave_nothing_behind(puppet: Puppet) -> None:
    names = [f"s-{number:020x}" for number in range(100)]
    sinks = []
    for name in names:
        _, _, sink = await puppet.session(grace_seconds=60, session_id=name)
        sinks.append(sink)
    await leave(puppet)
    async with attached(puppet.joined, held=names) as again:
        for _ in names:
            call = await again.serve(await again.told("resume"))
            await call.read()
            await call.write(RUNNING)
        await eventually(lambda: all(sink.heard == ["suspended", "resumed"] for sink in sinks))
        kept = again.rig.attachments.kept
        for upstream in list(kept._known[puppet.joined.node.id].values()):
            upstream.close()
        await eventually(lambda: not (kept._known or kept._resuming or kept._asked_at))


async def test_who_looks_after_agents_stops_though_something_changes_at_that_moment(rig: Rig) -> None:
    looking = asyncio.create_task(rig.attachments.run())
    await asyncio.sleep(0.5)
    rig.changes.publish("nodes")
    await asyncio.sleep(0)
    looking.cancel()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(looking, return_exceptions=True)

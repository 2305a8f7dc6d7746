"""Agents that do not keep to the contract are cut off, and nobody else notices."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from gateway.api import agent as agent_api
from gateway.errors import Refused
from gateway.nodes.agents import attachments, serving
from gateway.nodes.errors import LoginRefused, NodeUnreachable, UpstreamFailed
from gateway.nodes.ports import Exited, Lost
from gateway.store import agents as agent_rows
from gateway.store import node_locks
from jitgate.v1.agent_pb2 import (
    SESSION_REFUSAL_BUSY,
    SESSION_REFUSAL_LOGIN,
    AgentHeartbeat,
    AgentHello,
    AgentMessage,
    NodeExit,
    NodeFrame,
    SessionNotStarted,
    SessionRefused,
)
from jitgate.v1.session_pb2 import SessionData, SessionResize, SessionWindow
from tests.conformance.connectors import eventually
from tests.gateway.nodes.agents.puppet import REQUEST, RUNNING, SECONDS, Puppet, Sink, attached, ended
from tests.gateway.nodes.agents.rig import REPLICA, Rig
from tests.refusals import say

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

BROKEN: dict[str, list[NodeFrame]] = {
    "offset ahead": [NodeFrame(data=SessionData(offset=7, payload=b"x"))],
    "offset back": [
        NodeFrame(data=SessionData(payload=b"xy")),
        NodeFrame(data=SessionData(offset=1, payload=b"y")),
    ],
    "no data": [NodeFrame(data=SessionData())],
    "too large": [NodeFrame(data=SessionData(payload=bytes(262145)))],
    "no such stream": [NodeFrame(data=SessionData(payload=b"x", stream=7))],  # type: ignore[arg-type]
    "credit out of nothing": [NodeFrame(window=SessionWindow(credit=1))],
    "running twice": [RUNNING],
    "a frame of the gateway": [NodeFrame(resize=SessionResize(columns=80, rows=24))],
    "nothing": [NodeFrame()],
    "an impossible status": [NodeFrame(exit=NodeExit(status=256))],
    "an impossible signal": [NodeFrame(exit=NodeExit(signal="\x1b]0;"))],
    "not started after all": [NodeFrame(not_started=SessionNotStarted(message="no"))],
    "more than the credit": [
        NodeFrame(data=SessionData(offset=number * 262144, payload=bytes(262144))) for number in range(5)
    ],
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_session_that_breaks_the_contract_is_lost_and_the_others_go_on(puppet: Puppet, case: str) -> None:
    good, _, heard = await puppet.session()
    call, upstream, sink = await puppet.session()
    if case == "more than the credit":
        upstream.pause_reading()
    for frame in BROKEN[case]:
        await say(call, frame)
    assert await ended(call) == "INVALID_ARGUMENT"
    upstream.resume_reading()
    assert isinstance(sink.end, Lost)
    upstream.close()
    await upstream.wait_closed()
    await good.write(NodeFrame(data=SessionData(payload=b"still here")))
    await good.write(NodeFrame(exit=NodeExit(status=3)))
    await eventually(lambda: heard.end is not None)
    assert (bytes(heard.out), heard.end) == (b"still here", Exited(3))


async def test_a_flood_of_small_frames_is_cut_off(puppet: Puppet, monkeypatch: pytest.MonkeyPatch) -> None:
    # How fast a test can send says nothing about the pace: with less of it, any machine floods.
    monkeypatch.setattr(serving, "SMALL_FRAMES_BURST", 100)
    monkeypatch.setattr(serving, "SMALL_FRAMES_PER_SECOND", 0)
    call, _, sink = await puppet.session()
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for offset in range(1_000):
            await call.write(NodeFrame(data=SessionData(offset=offset, payload=b"x")))
    await eventually(lambda: isinstance(sink.end, Lost))
    assert bytes(sink.out) == b"x" * 100


async def test_speaking_before_the_start_is_refused(puppet: Puppet) -> None:
    opening = asyncio.create_task(puppet.rig.connector.open(puppet.joined.node, REQUEST))
    call = await puppet.serve(await puppet.order())
    await call.write(RUNNING)
    assert await ended(call) == "INVALID_ARGUMENT"
    upstream = await opening
    with pytest.raises(UpstreamFailed):
        await upstream.start(Sink())


async def test_only_the_ordered_session_is_served_and_once(puppet: Puppet) -> None:
    opening = asyncio.create_task(puppet.rig.connector.open(puppet.joined.node, REQUEST))
    order = await puppet.order()
    for wrong in ({"nonce": bytes(16)}, {"nonce": b""}, {"session_id": "s-ffffffffffffffffffff"}):
        assert await ended(await puppet.serve(order, **wrong)) == "FAILED_PRECONDITION"
    other = await puppet.rig.join(await puppet.rig.invite())
    async with attached(other) as stranger:
        assert await ended(await stranger.serve(order)) == "FAILED_PRECONDITION"
    call = await puppet.serve(order)
    upstream = await asyncio.wait_for(opening, SECONDS)
    assert await ended(await puppet.serve(order)) == "FAILED_PRECONDITION"
    upstream.close()
    assert await ended(call) == "OK"


async def test_what_the_agent_says_why_it_serves_nothing(puppet: Puppet) -> None:
    for reason, expected in (
        (SESSION_REFUSAL_LOGIN, LoginRefused),
        (SESSION_REFUSAL_BUSY, Refused),
    ):
        opening = asyncio.create_task(puppet.rig.connector.open(puppet.joined.node, REQUEST))
        order = await puppet.order()
        refused = SessionRefused(nonce=order.nonce, reason=reason, message="no\x1b[2Jpe")
        await puppet.say(refused=refused)
        with pytest.raises(expected, match=r"no.*pe") as caught:
            await asyncio.wait_for(opening, SECONDS)
        assert "\x1b" not in str(caught.value)
    await puppet.say(
        refused=SessionRefused(nonce=bytes(16), reason=SESSION_REFUSAL_LOGIN)
    )  # of no session: let pass
    await puppet.session()


@pytest.mark.parametrize("message", [AgentMessage(), AgentMessage(hello=AgentHello(protocol=1))])
async def test_a_control_channel_that_breaks_the_contract_takes_its_sessions_along(
    puppet: Puppet, message: AgentMessage
) -> None:
    _, _, sink = await puppet.session()
    await puppet.control.write(message)
    assert await puppet.cut() == "INVALID_ARGUMENT"
    await eventually(lambda: isinstance(sink.end, Lost))
    with pytest.raises(NodeUnreachable, match="last seen at"):
        await puppet.rig.connector.open(await puppet.rig.node(puppet.joined.node.id), REQUEST)


async def test_a_heartbeat_is_answered(puppet: Puppet) -> None:
    await puppet.say(heartbeat=AgentHeartbeat())
    async with asyncio.timeout(SECONDS):
        assert (await puppet.control.read()).WhichOneof("message") == "heartbeat"


async def test_a_flood_of_heartbeats_is_cut_off(puppet: Puppet) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(1000):
            await puppet.say(heartbeat=AgentHeartbeat())
    # gRPC says INTERNAL where the end comes while the other side is still writing.
    assert await puppet.cut() in {"INVALID_ARGUMENT", "INTERNAL"}
    await eventually(lambda: puppet.rig.attachments.of(puppet.joined.node.id) is None)


@pytest.mark.parametrize(
    "first",
    [
        AgentMessage(heartbeat=AgentHeartbeat()),
        AgentMessage(hello=AgentHello(protocol=2)),
        AgentMessage(hello=AgentHello(protocol=1, platform="x" * 257)),
    ],
)
async def test_who_does_not_greet_is_not_attached(rig: Rig, first: AgentMessage) -> None:
    joined = await rig.join(await rig.invite())
    async with joined.dialled() as stub:
        control = stub.Attach()
        await control.write(first)
        assert await ended(control) in {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}
    assert rig.attachments.of(joined.node.id) is None


@pytest.mark.rule("R3")
async def test_what_an_agent_says_of_its_node_is_shown_and_decides_nothing(puppet: Puppet) -> None:
    node = await puppet.rig.node(puppet.joined.node.id)
    assert node.properties == {"platform": "Toy[2J 1", "agent_version": "9"}
    assert (node.name, node.tags) == ("web", {})


async def test_the_second_agent_of_a_node_takes_the_place_of_the_first(
    puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "_SHORTEST_STAY_SECONDS", 3600.0)
    _, _, sink = await puppet.session()
    async with puppet.joined.dialled() as stub:
        early = stub.Attach()
        await say(early, AgentMessage(hello=AgentHello(protocol=1)))
        assert await ended(early) == "RESOURCE_EXHAUSTED"  # not at once: two would take turns without end
    assert sink.end is None
    monkeypatch.setattr(attachments, "_SHORTEST_STAY_SECONDS", 0.0)
    async with attached(puppet.joined) as second:
        assert await puppet.cut() == "ABORTED"
        await eventually(lambda: isinstance(sink.end, Lost))
        assert len(await puppet.rig.events("agent.replaced")) == 1
        call, _, heard = await second.session()
        await call.write(NodeFrame(exit=NodeExit(status=0)))
        await eventually(lambda: heard.end == Exited(0))
        assert (await puppet.rig.node(puppet.joined.node.id)).attached_to == "r-1"


async def test_a_lock_or_an_expired_certificate_ends_an_open_connection(puppet: Puppet) -> None:
    rig, node_id = puppet.rig, puppet.joined.node.id
    async with rig.database.transaction() as tx:
        await node_locks.lock(tx.connection, node_id, rig.clock(), "nina", "why not")
        tx.after_commit(lambda: rig.changes.publish("nodes"))
    assert await puppet.cut() == "PERMISSION_DENIED"
    async with rig.database.transaction() as tx:
        await node_locks.unlock(tx.connection, node_id)
    async with attached(puppet.joined) as again:
        async with rig.database.transaction() as tx:
            await agent_rows.certified(tx.connection, node_id, rig.clock() - timedelta(seconds=1))
            tx.after_commit(lambda: rig.changes.publish("nodes"))
        assert await again.cut() == "UNAUTHENTICATED"


async def test_an_agent_that_vanishes_is_noticed_and_seen_until_then(puppet: Puppet) -> None:
    _, _, sink = await puppet.session()
    puppet.control.cancel()
    await eventually(lambda: isinstance(sink.end, Lost))
    node_id = puppet.joined.node.id
    await eventually(lambda: puppet.rig.attachments.of(node_id) is None)
    async with asyncio.timeout(SECONDS):
        while (await puppet.rig.node(node_id)).attached_to:
            await asyncio.sleep(0.01)
    node = await puppet.rig.node(node_id)
    assert not node.attached_to and node.last_seen_at is not None


async def test_an_agent_that_says_nothing_is_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with attached(await rig.join(await rig.invite())) as puppet:
        _, _, sink = await puppet.session()
        monkeypatch.setattr(agent_api, "SILENCE_SECONDS", 0.5)
        await puppet.say(heartbeat=AgentHeartbeat())  # its last word
        assert await puppet.cut() == "UNAVAILABLE"
        assert sink.end == Lost("nothing was heard of the node's agent for 0.5 seconds")


async def test_what_is_said_of_an_agent_that_is_not_here(rig: Rig) -> None:
    node = (await rig.join(await rig.invite())).node
    for changes, said in (
        ({"attached_to": "r-2"}, "another gateway"),
        ({"attached_to": REPLICA}, "never connected"),
        ({"last_seen_at": rig.clock()}, "last seen at"),
        ({}, "never connected"),
    ):
        with pytest.raises(NodeUnreachable, match=said):
            await rig.connector.open(replace(node, **changes), REQUEST)

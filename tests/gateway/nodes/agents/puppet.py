"""An agent whose every word a test says itself, and where the gateway's end of its sessions leads to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc

from gateway.nodes.agents.serving import WINDOW_BYTES
from gateway.nodes.ports import OpenUpstream, ResumableUpstream, UpstreamEnd, UpstreamKind
from jitgate.v1.agent_pb2 import (
    AgentHello,
    AgentMessage,
    GatewayMessage,
    NodeFrame,
    ServeSession,
    SessionOrder,
    SessionRunning,
)
from tests.gateway.nodes.agents.rig import Joined, Rig
from tests.refusals import say

REQUEST = OpenUpstream(
    login="root",
    kind=UpstreamKind.EXEC,
    user_id="alice",
    session_id="s-0123456789abcdef0123",
    request_id="oi-0123456789ab",
    valid_seconds=300,
    command="true",
)
SECONDS = 30
"""What anything may take on a busy machine."""
RUNNING = NodeFrame(running=SessionRunning(credit=1000))


class Sink:
    def __init__(self) -> None:
        self.out = bytearray()
        self.end: UpstreamEnd | None = None
        self.heard: list[str] = []

    def output(self, data: bytes, stderr: bool) -> None:
        self.out += data

    def ended(self, end: UpstreamEnd) -> None:
        assert self.end is None
        self.end = end

    def forget_end(self) -> None:
        """It may come again."""
        self.end = None

    def suspended(self, message: str) -> None:
        self.heard.append("suspended")

    def resumed(self) -> None:
        self.heard.append("resumed")


@dataclass
class Puppet:
    """An agent whose every word a test says itself."""

    joined: Joined
    stub: Any
    control: Any

    @property
    def rig(self) -> Rig:
        return self.joined.rig

    async def say(self, **message: Any) -> None:
        await self.control.write(AgentMessage(**message))

    async def told(self, which: str) -> Any:
        """The next message, which is of that kind."""
        message: GatewayMessage = await asyncio.wait_for(self.control.read(), SECONDS)
        assert message.WhichOneof("message") == which
        return getattr(message, which)

    async def order(self) -> SessionOrder:
        order: SessionOrder = await self.told("order")
        return order

    async def serve(self, order: Any, **changes: Any) -> Any:
        call = self.stub.Serve()
        serve = {"session_id": order.session_id, "nonce": order.nonce, **changes}
        await say(call, NodeFrame(serve=ServeSession(**serve)))
        return call

    async def session(self, **changes: Any) -> tuple[Any, ResumableUpstream, Sink]:
        """A running session: the agent's call, the gateway's end, and where its output goes."""
        request = replace(REQUEST, **changes)
        opening = asyncio.create_task(self.rig.connector.open(self.joined.node, request))
        call = await self.serve(await self.order())
        upstream = await asyncio.wait_for(opening, SECONDS)
        sink = Sink()
        starting = asyncio.create_task(upstream.start(sink))
        assert (await call.read()).start.credit == WINDOW_BYTES
        await call.write(RUNNING)
        await asyncio.wait_for(starting, SECONDS)
        return call, upstream, sink

    async def cut(self) -> str:
        """The status that the control channel ended with."""
        return await ended(self.control)


@contextlib.asynccontextmanager
async def attached(joined: Joined, chain: bytes = b"", held: Sequence[str] = ()) -> AsyncIterator[Puppet]:
    async with joined.dialled(chain) as stub:
        control = stub.Attach()
        hello = AgentHello(protocol=1, agent_version="9", platform="Toy\x1b[2J 1", held=held)
        await control.write(AgentMessage(hello=hello))
        assert (await asyncio.wait_for(control.read(), SECONDS)).welcome.heartbeat_seconds
        yield Puppet(joined, stub, control)
        control.cancel()


async def ended(call: Any) -> str:
    """The status that a call of the agent ended with."""
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return str((await call.code()).name)

"""AgentService: the agents of nodes on the wire (R33)."""

# ruff: noqa: N802  # methods are named by the contract

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import grpc

from gateway.api import bounds, values
from gateway.api.current import agent
from gateway.errors import Kind, Refused
from gateway.nodes.agents import errors
from gateway.nodes.agents.attachment import Attachment
from gateway.nodes.agents.attachments import Attachments
from gateway.nodes.agents.check import CLOCK_SKEW
from gateway.nodes.agents.registration import Registrations
from gateway.nodes.agents.serving import Serving, printable
from gateway.nodes.errors import LoginRefused
from gateway.version import VERSION
from jitgate.v1 import agent_pb2, agent_pb2_grpc

PROTOCOL: Final = 1
HEARTBEAT_SECONDS: Final = 15
ANSWER_SECONDS: Final = 10
SILENCE_SECONDS: Final = 100.0
"""An agent that says nothing for so long is gone."""
OPEN_SECONDS: Final = 10.0
"""How long an agent may take to say what it calls for."""
_HEARTBEATS_AT_ONCE: Final = 10.0

# Generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, attachments: Attachments, registrations: Registrations) -> None:
        self._attachments = attachments
        self._registrations = registrations

    async def Attach(  # type: ignore[override]  # it answers through the context, as fast as the agent reads
        self, request_iterator: AsyncIterator[agent_pb2.AgentMessage], context: _Context
    ) -> None:
        first = await _first(request_iterator)
        if first is None or first.WhichOneof("message") != "hello":
            raise errors.broken("the first message must be hello")
        bounds.check(first)
        hello = first.hello
        if hello.protocol != PROTOCOL:
            raise errors.too_old(hello.protocol)
        properties = {"platform": printable(hello.platform), "agent_version": printable(hello.agent_version)}
        if hello.HasField("clock"):
            properties[CLOCK_SKEW] = str(hello.clock.seconds - int(self._attachments.clock().timestamp()))
        async with self._attachments.attached(agent(), properties, hello.held) as attachment:
            reading = asyncio.create_task(_listen(request_iterator, attachment))
            try:
                welcome = agent_pb2.GatewayWelcome(
                    gateway_version=VERSION,
                    heartbeat_seconds=HEARTBEAT_SECONDS,
                    answer_seconds=ANSWER_SECONDS,
                )
                await context.write(agent_pb2.GatewayMessage(welcome=welcome))
                while attachment.refused is None:
                    attachment.wake.clear()
                    while (message := attachment.next_message()) is not None:
                        await context.write(message)
                    await attachment.wake.wait()
                raise attachment.refused
            except (grpc.aio.BaseError, grpc.RpcError):
                return  # the agent is gone
            finally:
                reading.cancel()

    async def Serve(  # type: ignore[override]  # as above
        self, request_iterator: AsyncIterator[agent_pb2.NodeFrame], context: _Context
    ) -> None:
        first = await _first(request_iterator)
        if first is None or first.WhichOneof("frame") != "serve":
            raise errors.broken("the first frame must be serve")
        attachment = self._attachments.of(agent().node_id)
        if attachment is None:
            raise errors.unknown_order()
        serving = attachment.claim(first.serve)
        woken = asyncio.Event()
        serving.wake = woken.set
        reading = asyncio.create_task(_receive(request_iterator, serving))
        try:
            while not serving.is_over:
                woken.clear()
                while (frame := serving.next_frame()) is not None:
                    await context.write(frame)
                if not serving.is_over:
                    await woken.wait()
            if serving.refused is not None:
                raise serving.refused
        except (grpc.aio.BaseError, grpc.RpcError):
            return  # the agent is gone
        finally:
            reading.cancel()
            attachment.release(serving)
            serving.lost("the call of the node's agent broke off")

    async def RenewCertificate(
        self, request: agent_pb2.RenewCertificateRequest, context: object
    ) -> agent_pb2.RenewCertificateResponse:
        certificate = await self._registrations.renew(agent())
        return agent_pb2.RenewCertificateResponse(
            certificate_chain=certificate.chain,
            issued_at=values.timestamp(certificate.issued_at),
            expires_at=values.timestamp(certificate.expires_at),
        )


async def _first(messages: AsyncIterator[Any]) -> Any:
    """The first message; None when there is none. Raises Refused BROKEN_FRAMES."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return await anext(messages, None)
    except TimeoutError:
        raise errors.broken(f"no message within {OPEN_SECONDS:g} seconds") from None


async def _listen(messages: AsyncIterator[agent_pb2.AgentMessage], attachment: Attachment) -> None:
    """Everything that an agent says on its control channel; the attachment ends with it."""
    loop = asyncio.get_running_loop()
    left, at = _HEARTBEATS_AT_ONCE, loop.time()
    ending = Refused(Kind.UNAVAILABLE, "AGENT_GONE", "the node's agent went away")
    try:
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await anext(messages, None)
            if message is None:
                break
            bounds.check(message)
            attachment.heard = True
            match message.WhichOneof("message"):
                case "heartbeat":
                    # One a second at most, though some may come late and together.
                    now = loop.time()
                    left, at = min(_HEARTBEATS_AT_ONCE, left + now - at) - 1, now
                    if left < 0:
                        raise errors.broken("a flood of heartbeats")
                    attachment.answer()
                case "refused":
                    attachment.refuse(message.refused.nonce, _refusal(message.refused))
                case which:
                    raise errors.broken(f"a message that is not due: {which or 'none that is known'}")
    except TimeoutError:
        ending = errors.silent(SILENCE_SECONDS)
    except Refused as broken:
        ending = broken
    except (grpc.aio.BaseError, grpc.RpcError):
        pass  # it is gone
    finally:
        attachment.end(ending)


async def _receive(frames: AsyncIterator[agent_pb2.NodeFrame], serving: Serving) -> None:
    """Every frame of one call, until the agent breaks the contract or says no more."""
    try:
        async for frame in frames:
            serving.received(frame)
    except Refused:
        pass  # the session knows
    except (grpc.aio.BaseError, grpc.RpcError):
        pass  # it is gone
    finally:
        if not serving.has_exited:
            serving.lost("the node's agent ended the session without saying how")


def _refusal(refused: agent_pb2.SessionRefused) -> Refused:
    message = printable(refused.message)
    if refused.reason == agent_pb2.SESSION_REFUSAL_LOGIN:
        return LoginRefused(
            f"The node's agent refuses the login: {message}",
            "Make the login on the node, have another one named (session preferences), or run the agent as root.",
        )
    if refused.reason != agent_pb2.SESSION_REFUSAL_BUSY:
        return errors.not_kept(f"the agent does not serve the session: {message}")
    return Refused(
        Kind.RESOURCE_EXHAUSTED,
        "TOO_MANY_SESSIONS",
        f"The node's agent takes no more sessions: {message}",
        "End sessions that are not needed, or start the agent with a higher --max-sessions.",
    )

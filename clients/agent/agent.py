"""The running agent: stays connected, serves the sessions that the gateway orders, renews its certificate."""

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from clients.agent.carrier import Call
from clients.agent.log import log
from clients.agent.sessions import Sessions
from clients.agent.state import Registration, State, Unusable
from jitgate.v1.agent_pb2 import (
    AgentHeartbeat,
    AgentHello,
    AgentMessage,
    GatewayMessage,
    NodeFrame,
    RenewCertificateRequest,
    RenewCertificateResponse,
)

PROTOCOL = 1
_SERVICE = "/jitgate.v1.AgentService"
_SHORTEST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_LONGEST_WAIT_OF_SESSIONS = 5.0
"""While sessions are kept, whose users wait as well."""
_STEADY_SECONDS = 30.0
_WELCOME_SECONDS = 20.0
_RENEWAL_SECONDS = 600.0
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # each attempt is a fresh one; the waiting in between is ours
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 4 << 20),
)


@dataclass(slots=True)
class _Link:
    """One connection to the gateway."""

    channel: grpc.aio.Channel
    call: "grpc.aio.StreamStreamCall[AgentMessage, GatewayMessage]"
    outgoing: "asyncio.Queue[AgentMessage]"

    def dial(self) -> Call:
        """See sessions.Link."""
        serve = self.channel.stream_stream(
            f"{_SERVICE}/Serve",
            request_serializer=_encode,
            response_deserializer=NodeFrame.FromString,
        )
        call: Call = serve()
        return call

    def say(self, message: AgentMessage) -> None:
        self.outgoing.put_nowait(message)


class Agent:
    """`run` until it is cancelled."""

    def __init__(self, state: State, version: str, max_sessions: int) -> None:
        self._state = state
        self._version = version
        self._sessions = Sessions(max_sessions)

    async def run(self) -> None:
        """Raises Unusable. No session outlives it."""
        try:
            await self._stay()
        finally:
            await self._sessions.close()

    async def _stay(self) -> None:
        waits = 0
        while True:
            began = time.monotonic()
            try:
                await self._stay_attached()
                why = "the gateway closed the connection"
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
            except (asyncio.InvalidStateError, TimeoutError) as error:
                why = str(error) or "no answer"
            waits = 0 if time.monotonic() - began > _STEADY_SECONDS else waits + 1
            # Many agents lose one gateway at the same moment: each waits for a time of its own.
            longest = _LONGEST_WAIT_OF_SESSIONS if self._sessions.held() else _LONGEST_WAIT
            wait = random.uniform(0, min(longest, _SHORTEST_WAIT * 2 ** min(waits, 10)))  # noqa: S311  # no secret
            self._state.note("waiting", why)
            log("detached", reason=why, retry_in_seconds=round(wait, 1), what_to_do=self._advice())
            await asyncio.sleep(wait)

    async def _stay_attached(self) -> None:
        """One connection, from dialling to its end. Only sessions that were ordered with a grace outlive it."""
        registration = self._registration()
        ca, key, chain = self._state.credentials()
        credentials = grpc.ssl_channel_credentials(ca, key, chain)
        async with grpc.aio.secure_channel(registration.agent_address, credentials, options=_OPTIONS) as channel:
            attach = channel.stream_stream(
                f"{_SERVICE}/Attach",
                request_serializer=_encode,
                response_deserializer=GatewayMessage.FromString,
            )
            link = _Link(channel, attach(), asyncio.Queue())
            tasks: list[asyncio.Task[None]] = []
            try:
                heartbeat, patience = await self._greet(link)
                log("attached", gateway=registration.agent_address, node=registration.node_id)
                self._state.note("attached")
                tasks += [
                    asyncio.create_task(self._talk(link, heartbeat)),
                    asyncio.create_task(self._keep_certified(channel)),
                ]
                while isinstance(message := await _hear(link, patience), GatewayMessage):  # else it is the end
                    self._ordered(link, message)
                code = await link.call.code()
                if code is not grpc.StatusCode.OK:
                    raise TimeoutError(f"{code.name}: {await link.call.details()}")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._sessions.let_go()

    async def _greet(self, link: _Link) -> tuple[float, float | None]:
        """Seconds between heartbeats, and how long the gateway may say nothing, if that is limited."""
        system = os.uname()
        hello = AgentHello(
            protocol=PROTOCOL,
            agent_version=self._version,
            platform=f"{system.sysname} {system.release} {system.machine}",
            held=self._sessions.held(),
        )
        hello.clock.GetCurrentTime()
        async with asyncio.timeout(_WELCOME_SECONDS):
            await link.call.write(AgentMessage(hello=hello))
            message = await link.call.read()
        if not isinstance(message, GatewayMessage) or message.WhichOneof("message") != "welcome":
            raise TimeoutError(f"{(await link.call.code()).name}: {await link.call.details()}")
        heartbeat = max(1.0, float(message.welcome.heartbeat_seconds))
        answer = message.welcome.answer_seconds
        return heartbeat, heartbeat + answer if answer else None

    def _ordered(self, link: _Link, message: GatewayMessage) -> None:
        which = message.WhichOneof("message")
        if which == "order":
            self._sessions.begin(message.order, link)
        elif which == "resume":
            self._sessions.resume(message.resume, link)
        elif which == "end":
            self._sessions.end(message.end)

    async def _talk(self, link: _Link, heartbeat: float) -> None:
        while True:
            message = AgentMessage(heartbeat=AgentHeartbeat())
            # Not wait_for: in Python 3.11 it can swallow the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(heartbeat):
                    message = await link.outgoing.get()
            await link.call.write(message)

    # -- the certificate ----------------------------------------------------------------------------------------

    async def _keep_certified(self, channel: grpc.aio.Channel) -> None:
        renew = channel.unary_unary(
            f"{_SERVICE}/RenewCertificate",
            request_serializer=RenewCertificateRequest.SerializeToString,
            response_deserializer=RenewCertificateResponse.FromString,
        )
        while True:
            known = self._registration()
            if known.expires_at - time.time() < (known.expires_at - known.issued_at) / 3:
                try:
                    answer = await renew(RenewCertificateRequest(), timeout=30)
                except grpc.aio.AioRpcError as error:
                    log("renewal_failed", reason=f"{error.code().name}: {error.details()}")
                else:
                    renewed = Registration(
                        known.node_id,
                        known.node_name,
                        known.agent_address,
                        answer.issued_at.seconds,
                        answer.expires_at.seconds,
                    )
                    self._state.keep(renewed, answer.certificate_chain)
                    log("renewed", expires_at=renewed.expires_at)
            await asyncio.sleep(min(_RENEWAL_SECONDS, max(1.0, (known.expires_at - known.issued_at) / 100)))

    def _registration(self) -> Registration:
        found = self._state.registration()
        if found is None:
            raise Unusable("this node is not registered. Run: jitgate-agent register --help")
        return found

    def _advice(self) -> str:
        if self._registration().expires_at < time.time():
            return "The certificate has expired, or the clock is wrong. Register this node anew."
        return ""


async def _hear(link: _Link, patience: float | None) -> Any:
    """The next message. Raises TimeoutError after `patience`: where a write is stuck, so are gRPC's own pings."""
    try:
        async with asyncio.timeout(patience):
            return await link.call.read()
    except TimeoutError:
        raise TimeoutError(f"nothing was heard of the gateway for {patience:g} seconds") from None


def _encode(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


async def run(state: State, version: str, max_sessions: int) -> None:
    """Until SIGTERM or SIGINT; the sessions end with it. Raises Unusable."""
    agent = asyncio.create_task(Agent(state, version, max_sessions).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await agent
    log("stopped")

"""A gateway that says what a test wants it to, over real gRPC, and an agent that knows it."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clients.agent.state import Registration, State
from jitgate.v1 import agent_pb2_grpc
from jitgate.v1.agent_pb2 import (
    SESSION_REFUSAL_UNSPECIFIED,
    AgentHello,
    AgentMessage,
    EndOrder,
    GatewayHeartbeat,
    GatewayMessage,
    GatewayWelcome,
    NodeExit,
    NodeFrame,
    ResumeOrder,
    ResumeServing,
    SessionDurable,
    SessionOrder,
    SessionRefused,
    StartSession,
)
from jitgate.v1.session_pb2 import (
    SESSION_KIND_EXEC,
    SESSION_STREAM_STDERR,
    SessionData,
    SessionEof,
    SessionWindow,
)
from tests.ports import KeptPorts
from tests.sshd import current_login

SECONDS = 20.0
SESSION = "s-0123456789abcdef0123"


class Serving:
    """A Serve call, as the gateway sees it."""

    def __init__(self, frames: AsyncIterator[NodeFrame], context: Any, first: NodeFrame) -> None:
        self.serve = first.serve
        self.over = asyncio.Event()
        """Set it, and the call ends with `code`; it is set when the call is over."""
        self.code = grpc.StatusCode.OK
        self.input_credit = 0
        self.granted = 0
        """Credit for input that came after the first."""
        self.output = bytearray()
        self.errors = bytearray()
        self.offset = 0
        """Of the next byte of output."""
        self.exit: NodeExit | None = None
        self.not_started = ""
        self.frames = 0
        self._frames = frames
        self._context = context
        self._writing = asyncio.Lock()  # gRPC takes one at a time

    async def say(self, **frame: Any) -> None:
        async with self._writing:
            await self._context.write(NodeFrame(**frame))

    async def start(self, credit: int = 16 << 20) -> None:
        await self.say(start=StartSession(credit=credit))
        await self.until(lambda: self.input_credit > 0 or bool(self.not_started))

    async def resume(self, offset: int, credit: int = 16 << 20) -> None:
        self.offset = offset
        await self.say(resume=ResumeServing(output_offset=offset, credit=credit))
        await self.until(lambda: self.input_credit > 0)

    async def write(self, offset: int, payload: bytes) -> None:
        await self.say(data=SessionData(offset=offset, payload=payload))

    async def grant(self, credit: int) -> None:
        await self.say(window=SessionWindow(credit=credit))

    async def durable(self, offset: int) -> None:
        await self.say(durable=SessionDurable(offset=offset))

    async def eof(self) -> None:
        await self.say(eof=SessionEof())

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        self.code = code
        self.over.set()

    async def until(self, condition: Any) -> None:
        """Reads until it holds. What breaks the contract fails the test."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                frame = await anext(self._frames, None)
                assert frame is not None, "the agent ended the call"
                self._received(frame)

    async def ends(self) -> None:
        """Reads until the agent ends the call."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError):
                async for frame in self._frames:
                    self._received(frame)
        await asyncio.wait_for(self.over.wait(), SECONDS)

    async def ended(self) -> NodeExit:
        """Reads up to the exit."""
        await self.until(lambda: self.exit is not None)
        assert self.exit is not None
        return self.exit

    def _received(self, frame: NodeFrame) -> None:
        self.frames += 1
        which = frame.WhichOneof("frame")
        assert self.exit is None, f"{which} after exit"
        if which == "data":
            assert frame.data.offset == self.offset
            self.offset += len(frame.data.payload)
            (self.errors if frame.data.stream == SESSION_STREAM_STDERR else self.output).extend(frame.data.payload)
        elif which == "running":
            assert self.input_credit == 0
            self.input_credit = frame.running.credit
        elif which == "window":
            self.granted += frame.window.credit
        elif which == "exit":
            self.exit = frame.exit
        elif which == "not_started":
            self.not_started = frame.not_started.message
        else:
            raise AssertionError(which)


class Attached:
    """An attachment, as the gateway sees it."""

    def __init__(self, hello: AgentHello, context: Any) -> None:
        self.hello = hello
        self.refused: asyncio.Queue[SessionRefused] = asyncio.Queue()
        self.over = asyncio.Event()
        self.heartbeats = 0
        """That were answered."""
        self._context = context
        self._writing = asyncio.Lock()  # gRPC takes one at a time

    async def say(self, **message: Any) -> None:
        async with self._writing:
            await self._context.write(GatewayMessage(**message))


@dataclass
class StandIn(agent_pb2_grpc.AgentServiceServicer):
    """Start it again after `stop`, at the same address."""

    folder: Path
    address: str = "127.0.0.1:0"
    attachments: "asyncio.Queue[Attached]" = field(default_factory=asyncio.Queue)
    nonces: "itertools.count[int]" = field(default_factory=itertools.count)
    calls: "dict[bytes, asyncio.Future[Serving]]" = field(default_factory=dict)
    server: "grpc.aio.Server | None" = None
    now: Attached | None = None
    heartbeat_seconds: int = 30
    answer_seconds: int = 0
    is_mute: bool = False
    """Whether it answers no heartbeat."""
    kept: KeptPorts | None = None
    """While it is stopped."""

    async def start(self) -> None:
        key, chain = (self.folder / "gateway.key").read_bytes(), (self.folder / "gateway.pem").read_bytes()
        self.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self.server)
        port = self.server.add_secure_port(self.address, grpc.ssl_server_credentials([(key, chain)]))
        self.address = f"127.0.0.1:{port}"
        await self.server.start()
        self.let_go()

    async def stop(self) -> None:
        assert self.server is not None
        await self.server.stop(0)
        self.kept = self.kept or KeptPorts([self.address])

    def let_go(self) -> None:
        """Its address is anybody's, who is not to be in its way when it starts again."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None

    async def away_and_back(self) -> list[str]:
        """It dies and comes back; which sessions the agent then names."""
        await self.stop()
        await self.start()
        return list((await self.attached()).hello.held)

    async def attached(self) -> Attached:
        self.now = await asyncio.wait_for(self.attachments.get(), SECONDS)
        return self.now

    async def order(self, command: str, *, grace: int = 30, **changes: Any) -> Serving:
        """Orders a session, and returns the call that the agent makes for it."""
        values = {
            "session_id": SESSION,
            "login": current_login(),
            "kind": SESSION_KIND_EXEC,
            "command": command,
            "lifetime_seconds": 300,
            "grace_seconds": grace,
            **changes,
        }
        nonce = self.nonce()
        return await self.come(nonce, order=SessionOrder(nonce=nonce, **values))

    async def resumed(self, session_id: str = SESSION) -> Serving:
        """Orders to go on with a session; nothing was said yet."""
        nonce = self.nonce()
        return await self.come(nonce, resume=ResumeOrder(session_id=session_id, nonce=nonce))

    async def refused_to_resume(self, session_id: str) -> None:
        """Orders to go on with a session that the agent must not have; fails unless it says so."""
        assert self.now is not None
        nonce = self.nonce()
        await self.now.say(resume=ResumeOrder(session_id=session_id, nonce=nonce))
        refused = await asyncio.wait_for(self.now.refused.get(), SECONDS)
        assert (refused.nonce, refused.reason) == (nonce, SESSION_REFUSAL_UNSPECIFIED)

    async def end(self, session_id: str = SESSION) -> None:
        assert self.now is not None
        await self.now.say(end=EndOrder(session_id=session_id))

    def nonce(self) -> bytes:
        nonce = next(self.nonces).to_bytes(16)
        self.calls[nonce] = asyncio.get_running_loop().create_future()
        return nonce

    async def come(self, nonce: bytes, **message: Any) -> Serving:
        assert self.now is not None
        await self.now.say(**message)
        return await asyncio.wait_for(self.calls[nonce], SECONDS)

    async def Attach(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802  # as the contract has it
        first = await anext(request_iterator)
        attached = Attached(first.hello, context)
        welcome = GatewayWelcome(
            gateway_version="0", heartbeat_seconds=self.heartbeat_seconds, answer_seconds=self.answer_seconds
        )
        await attached.say(welcome=welcome)
        self.attachments.put_nowait(attached)

        async def listen() -> None:
            message: AgentMessage
            async for message in request_iterator:
                if message.HasField("refused"):
                    attached.refused.put_nowait(message.refused)
                elif message.HasField("heartbeat") and not self.is_mute:
                    attached.heartbeats += 1
                    await attached.say(heartbeat=GatewayHeartbeat())
            attached.over.set()

        listening = asyncio.create_task(listen())
        try:
            await attached.over.wait()
        finally:
            listening.cancel()
            attached.over.set()

    async def Serve(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802  # as above
        first = await anext(request_iterator)
        serving = Serving(request_iterator, context, first)
        context.add_done_callback(lambda _: serving.over.set())
        self.calls[first.serve.nonce].set_result(serving)
        try:
            await serving.over.wait()
        finally:
            serving.over.set()
        if serving.code is not grpc.StatusCode.OK:
            await context.abort(serving.code, "as the test wants it")

    async def RenewCertificate(self, request: object, context: object) -> NoReturn:  # noqa: N802  # as above
        raise NotImplementedError


def credentials(folder: Path) -> None:
    """A key and a certificate that vouches for itself, for a gateway on 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "gateway.key").write_bytes(private)
    (folder / "gateway.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def registered(folder: Path, gateway: StandIn) -> State:
    """The state of an agent that registered with it. The stand-in asks for no certificate of an agent."""
    state = State(folder / "agent")
    state.prepare()
    now = int(time.time())
    registration = Registration("mi-0123456789abcdef0", "edge", gateway.address, now, now + 86400)
    chain = (gateway.folder / "gateway.pem").read_bytes()
    state.keep(registration, chain.decode(), (gateway.folder / "gateway.key").read_bytes(), chain)
    return state


def logged(text: str, event: str) -> list[dict[str, Any]]:
    """The records of an event in what an agent said."""
    return [record for line in text.splitlines() if (record := json.loads(line))["event"] == event]

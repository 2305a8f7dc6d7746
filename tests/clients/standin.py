"""Stands in for the gateway: the contract's framing, TLS and identities are real, what is behind them is not.

Every method of the contract answers: by a function in `World.answers`, else by the life of a request as `World`
plays it, else with an empty message. `World.calls` keeps what was asked.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import message_factory
from google.protobuf.message import Message

from jitgate.v1 import (
    access_pb2,
    administration_pb2,
    allowance_pb2,
    approval_pb2,
    identity_pb2,
    node_pb2,
    policy_pb2,
    recording_pb2,
    scim_pb2,
    session_pb2,
)
from tests.clients import certificates
from tests.clients.refusal import Refusal
from tests.clients.world import World
from tests.ports import KeptPorts

CONTRACT = (
    access_pb2,
    administration_pb2,
    allowance_pb2,
    approval_pb2,
    identity_pb2,
    node_pb2,
    policy_pb2,
    recording_pb2,
    scim_pb2,
    session_pb2,
)


OPTIONS = (
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # as the gateway has it
)


@dataclass
class StandIn:
    """A running server: where it listens, what it trusts, the world behind it."""

    world: World
    ca: certificates.Issued
    client_ca: certificates.Issued
    address: str = ""
    sign_in_address: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _servers: list[grpc.aio.Server] = field(default_factory=list)
    _kept: KeptPorts | None = None

    def stop(self, grace: float | None = None) -> None:
        """Stops serving, as a gateway that is asked to (`grace` seconds) or killed (None)."""

        async def stop() -> None:
            await asyncio.gather(*(server.stop(grace) for server in self._servers))

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        if self._kept is None:
            self._kept = KeptPorts([self.address.replace("localhost", "127.0.0.1")])

    def let_go(self) -> None:
        """Its address is anybody's, who is not to be in the way of `start_again`."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def start_again(self) -> None:
        """Serves again after `stop`, at the same address and with the same world: sessions were kept."""
        self._servers.clear()
        port = int(self.address.rpartition(":")[2])
        asyncio.run_coroutine_threadsafe(self._start(port), self._loop).result(10)
        self.let_go()

    def run(self, change: Callable[[], Any]) -> Any:
        """Does something to the world, in its own thread, and wakes those who watch."""

        async def apply() -> Any:
            result = change()
            self.world.changed()
            return result

        return asyncio.run_coroutine_threadsafe(apply(), self._loop).result(10)

    async def _start(self, port: int) -> None:
        identity = certificates.server(self.ca)
        chain = identity.pem + self.ca.pem
        for demands_client in (True, False):
            server = grpc.aio.server(options=OPTIONS)
            for module in CONTRACT:
                for service in module.DESCRIPTOR.services_by_name.values():
                    if (service.name == "SignInService") != demands_client:
                        server.add_generic_rpc_handlers((_handler(service, self.world),))
            credentials = grpc.ssl_server_credentials(
                [(identity.key_pem, chain)],
                self.client_ca.pem if demands_client else None,
                require_client_auth=demands_client,
            )
            bound = server.add_secure_port(f"127.0.0.1:{port if demands_client else 0}", credentials)
            await server.start()
            self._servers.append(server)
            if demands_client:
                self.address = f"localhost:{bound}"
            else:
                self.sign_in_address = f"localhost:{bound}"
        self.world.gateway_address = self.address
        self.world.client_ca = self.client_ca


@contextmanager
def standin(world: World | None = None, port: int = 0) -> Iterator[StandIn]:
    """A server in a thread of its own, listening on loopback."""
    server = StandIn(world or World(), certificates.authority("gateway CA"), certificates.authority("client CA"))
    thread = threading.Thread(target=server._loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server._start(port), server._loop).result(10)
    try:
        yield server
    finally:
        server.stop()
        server.let_go()
        asyncio.run_coroutine_threadsafe(_settle(server.world), server._loop).result(10)
        server._loop.call_soon_threadsafe(server._loop.stop)
        thread.join(10)
        server._loop.close()


async def _settle(world: World) -> None:
    """Lets what was cancelled clean up."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for session in world.sessions:
        await session.reaped()
    await asyncio.sleep(0)  # one turn for the callbacks of closed transports


def _handler(service: Any, world: World) -> grpc.GenericRpcHandler:
    handlers = {}
    for method in service.methods:
        request = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        shape = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        behaviour = _unary(method.name, answer, world)
        if method.server_streaming:
            behaviour = _stream(method.name, world)
        handlers[method.name] = shape(
            behaviour, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _unary(name: str, answer: type[Message], world: World) -> Any:
    async def behave(request: Message, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
        caller = _caller(context)
        world.calls.append((name, caller, request))
        given = world.answers.get(name) or getattr(world, name, None)
        try:
            result = given(caller, request) if given else answer()
            if asyncio.iscoroutine(result):
                result = await result
        except Refusal as refusal:
            await _abort(context, refusal)
        assert isinstance(result, Message)
        return result

    return behave


def _stream(name: str, world: World) -> Any:
    async def behave(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[Message]:
        caller = _caller(context)
        world.calls.append((name, caller, request))
        given = world.answers.get(name) or getattr(world, name, None)
        if given is None:
            return
        try:
            async for message in given(caller, request, context):
                yield message
        except Refusal as refusal:
            await _abort(context, refusal)

    return behave


async def _abort(context: "grpc.aio.ServicerContext[Any, Any]", refusal: Refusal) -> None:
    trailers = (("grpc-status-details-bin", refusal.status.SerializeToString()),)
    await context.abort(refusal.code, str(refusal), trailing_metadata=trailers)


def _caller(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    names = context.auth_context().get("x509_common_name", [b""])
    return bytes(next(iter(names), b"")).decode()


def write_profile(server: StandIn, home: Path, user_id: str, name: str = "default", **replaced: Any) -> Path:
    """What `jit login` would have left behind for that user."""
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    lifetime = replaced.pop("lifetime", timedelta(hours=12))
    key = ec.generate_private_key(ec.SECP256R1())
    issued = certificates.Issued(server.client_ca.certificate, key)
    (folder / "client.key").write_bytes(issued.key_pem)
    (folder / "client.pem").write_bytes(certificates.client(server.client_ca, user_id, key.public_key(), lifetime))
    (folder / "ca.pem").write_bytes(server.ca.pem)
    values = {
        "sign_in_address": server.sign_in_address,
        "gateway_address": server.address,
        "user_id": user_id,
        "expires_at": int((datetime.now(UTC) + lifetime).timestamp()),
    } | replaced
    (folder / "profile.json").write_text(json.dumps(values))
    return folder

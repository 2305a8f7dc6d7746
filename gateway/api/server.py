"""The listeners: sign-in (TLS), everything else and nodes' agents (mTLS), each with health and reflection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.api.interceptor import Authenticate, Guard
from gateway.api.permissions import required_permissions

# Frames of a session are at most 256 KiB; policies and their findings stay below a megabyte.
_MAX_MESSAGE_BYTES = 4 << 20

_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second gateway on the same port is a mistake, not a replica
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
)
# Anybody can reach the sign-in listener, and has proven nothing yet: no stranger holds a connection, or many calls
# on it, for long. Clients dial again by themselves.
_STRANGERS = (
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
)


@dataclass(frozen=True, slots=True)
class Registration:
    """A service and how it joins a server: what protoc generated for it."""

    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, grpc.aio.Server], None]
    servicer: Any


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """PEM of the server's chain and key, and of the CA that client certificates must come from."""

    certificate_chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes


class Listener:
    """One address with its services. `tls` is asked again at each handshake, so that renewals take effect."""

    def __init__(
        self,
        address: str,
        services: Sequence[Registration],
        tls: Callable[[], TlsMaterial],
        authenticate: Authenticate,
        *,
        anonymous: bool,
    ) -> None:
        """Raises UndeclaredPermission for a method that names none, and OSError when the address is taken."""
        required = required_permissions(service.descriptor for service in services)
        self._server = grpc.aio.server(
            interceptors=(Guard(required, authenticate, anonymous=anonymous),),
            options=_OPTIONS + (_STRANGERS if anonymous else ()),
        )
        for service in services:
            service.add_to_server(service.servicer, self._server)
        names = [service.descriptor.full_name for service in services]
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._names = ["", *names]
        host = address.rpartition(":")[0]
        try:
            self._credentials = _credentials(tls, mutual=not anonymous)
            port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def refuse_new(self) -> None:
        """Tells load balancers to send nobody here any more."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new calls and lets those under way end for so long."""
        await self._server.stop(grace_seconds)

    async def _say(self, status: Any) -> None:
        for name in self._names:
            await self._health.set(name, status)


def _credentials(tls: Callable[[], TlsMaterial], *, mutual: bool) -> grpc.ServerCredentials:
    def configuration() -> Any:
        material = tls()
        return grpc.ssl_server_certificate_configuration(
            [(material.key, material.certificate_chain)], material.client_ca if mutual else None
        )

    latest = [tls(), configuration()]

    def fetch() -> Any:
        # None keeps the configuration in use: building one costs more than a handshake.
        material = tls()
        if material == latest[0]:
            return None
        latest[:] = [material, configuration()]
        return latest[1]

    return grpc.dynamic_ssl_server_credentials(latest[1], fetch, require_client_authentication=mutual)


def registration(descriptor: ServiceDescriptor, grpc_module: Any, servicer: Any) -> Registration:
    """The registration of a service whose generated module is `grpc_module`."""
    return Registration(descriptor, getattr(grpc_module, f"add_{descriptor.name}Servicer_to_server"), servicer)

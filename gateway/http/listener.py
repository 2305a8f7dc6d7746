"""The web listener's socket: HTTP/1.1 over TLS, with deadlines and limits before a request exists."""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gateway.http.settings import Http

_MAX_HEADER_BYTES = 16 << 10
_HANDSHAKE_SECONDS = 10.0
_HEADER_SECONDS = 10.0
_IDLE_SECONDS = 15
_BACKLOG = 256


class _Doors:
    """Who is connected. The proxies that are trusted stand for many."""

    def __init__(self, settings: Http) -> None:
        self._settings = settings
        self._proxies = [ipaddress.ip_network(proxy) for proxy in settings.trusted_proxies]
        self._by_source: Counter[str] = Counter()
        self.count = 0

    def enter(self, source: str) -> bool:
        """Whether there is room for one more; call `leave` in any case."""
        self.count += 1
        self._by_source[source] += 1
        if self.count > self._settings.max_connections:
            return False
        return self._by_source[source] <= self._settings.max_connections_per_source or self._is_proxy(source)

    def leave(self, source: str) -> None:
        self.count -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]

    def _is_proxy(self, source: str) -> bool:
        try:
            address = ipaddress.ip_address(source)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


class _Connection(H11Protocol):
    """One connection. uvicorn waits for the head of a request as long as the client likes; we don't."""

    doors: _Doors
    header_seconds: float
    _source = ""
    _head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        super().connection_made(transport)
        self._source = self.client[0] if self.client else ""
        if not self.doors.enter(self._source):
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.doors.leave(self._source)
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._head_due is None:
            self._watch()

    def _watch(self) -> None:
        self._head_due = self.loop.call_later(self.header_seconds, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _too_slow(self) -> None:
        self._head_due = None
        self.transport.abort()


class HttpListener:
    """Bound when made, so that its address is known before the pages that name it are."""

    def __init__(self, address: str, settings: Http) -> None:
        """Raises OSError when the address is taken or is none."""
        host, _, port = address.rpartition(":")
        self._socket = _bound(host.strip("[]"), int(port))
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._settings = settings
        self._state = ServerState()
        self._server: asyncio.AbstractServer | None = None

    @property
    def public_url(self) -> str:
        return self._settings.public_url or f"https://{self.address}"

    async def start(self, app: ASGIApp, tls: ssl.SSLContext, header_seconds: float = _HEADER_SECONDS) -> None:
        doors = _Doors(self._settings)
        config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=bool(self._settings.trusted_proxies),
            forwarded_allow_ips=list(self._settings.trusted_proxies),
            timeout_keep_alive=_IDLE_SECONDS,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        )
        config.load()
        # Whatever strangers send to an open port is not worth a line each.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

        def connection() -> _Connection:
            made = _Connection(config=config, server_state=self._state, app_state={})
            made.doors, made.header_seconds = doors, header_seconds
            return made

        self._server = await asyncio.get_running_loop().create_server(
            connection,
            sock=self._socket,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=1.0,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new connections, lets requests under way end for so long, then cuts them off."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for open_connection in list(self._state.connections):
            open_connection.shutdown()
        tasks: Sequence[asyncio.Task[Any]] = list(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for left in list(self._state.connections):
            left.transport.abort()
        await self._server.wait_closed()


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return made

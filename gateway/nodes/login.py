"""Logging in to a node: the node proves itself first, then the gateway with a certificate for this one session."""

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncssh

from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes import host_keys
from gateway.nodes.bounds import said_by_node
from gateway.nodes.dialing import address, dial
from gateway.nodes.errors import HostKeyChanged, LoginRefused, NodeUnreachable
from gateway.nodes.model import Node, SshEndpoint

# Long enough for the handshake on a node whose clock runs behind; a certificate is of no use once logged in.
_CERTIFICATE_LIFE = timedelta(minutes=2)

# The first that both sides know is taken: it is the one that CPUs do fastest.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
)


def principal(node_id: str, login: str) -> str:
    """What a certificate names: one login on one node. No other node accepts it."""
    return f"{node_id}/{login}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a node counts as unreachable: to connect, to log in, and silent while a session lives."""

    dial: float = 5.0
    login: float = 10.0
    silence: float = 45.0


class SshLogins:
    """Makes logged-in SSH connections to nodes.

    `source_addresses` are the addresses or CIDR blocks that nodes see the gateway come from; certificates work
    from there only. None means the address that each connection has on this side, which is right unless a
    translating router stands between.
    """

    def __init__(
        self, ca: SshUserCa, source_addresses: Sequence[str] = (), timeouts: Timeouts = Timeouts()
    ) -> None:
        # asyncssh asks who runs this process, though nothing depends on it; a container's user may have no name.
        os.environ.setdefault("LOGNAME", "jitgate")
        self._ca = ca
        self._source_addresses = tuple(source_addresses)
        self._timeouts = timeouts

    def now(self) -> datetime:
        """The time that the gateway's certificates go by; a node whose clock says another one refuses them."""
        return self._ca.now()

    async def connect(self, node: Node, login: str, key_id: str) -> asyncssh.SSHClientConnection:
        """Dials and logs in. `key_id` is what the node's sshd logs.

        Raises NodeUnreachable, HostKeyChanged, LoginRefused.
        """
        connection = await self.dial(node.endpoint)
        return await self.handshake(connection, node, login, key_id)

    async def dial(self, endpoint: SshEndpoint) -> socket.socket:
        """The first half of `connect`."""
        return await dial(endpoint.host, endpoint.port, self._timeouts.dial)

    async def handshake(
        self, connection: socket.socket, node: Node, login: str, key_id: str
    ) -> asyncssh.SSHClientConnection:
        """The second half of `connect`; `connection` is closed if it fails."""
        endpoint = node.endpoint
        where = address(endpoint.host, endpoint.port)
        keys = host_keys.trusted(endpoint)
        witness = _Witness()
        try:
            credential = self._ca.issue(
                principal(node.id, login),
                key_id,
                self._source_addresses or connection.getsockname()[0].partition("%")[0],
                _CERTIFICATE_LIFE,
            )
            async with asyncio.timeout(self._timeouts.login):
                return await asyncssh.connect(
                    endpoint.host,
                    endpoint.port,
                    sock=connection,
                    config=None,
                    client_factory=lambda: witness,
                    known_hosts=keys,
                    server_host_key_algs=host_keys.accepted_algorithms(endpoint),
                    x509_trusted_certs=None,
                    x509_trusted_cert_paths=(),
                    username=login,
                    client_keys=[credential],
                    agent_path=None,
                    pkcs11_provider=None,
                    gss_host=None,
                    preferred_auth=("publickey",),
                    disable_trivial_auth=True,
                    compression_algs=None,
                    encryption_algs=_CIPHERS,
                    login_timeout=0,
                    keepalive_interval=self._timeouts.silence / 3,
                    keepalive_count_max=2,
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise _host_key_changed(node, witness, said_by_node(error.reason)) from None
        except asyncssh.PermissionDenied:
            raise LoginRefused(
                f"{where} does not accept the gateway's certificate for the login {login}",
                f"Put the lines of `jit nodes trust {node.name}` into the node's sshd_config and principals file "
                f"for {login}, reload sshd, and look into its log for the certificate id {key_id!r}. Expired or "
                "not yet valid there: the node's clock is wrong. Not listed: AllowUsers names others.",
            ) from None
        except TimeoutError:
            raise NodeUnreachable(
                f"{where} did not finish the SSH handshake within {self._timeouts.login:g} seconds",
                "Check that an SSH server listens on that port and that the node is not overloaded.",
            ) from None
        except (OSError, asyncssh.Error) as error:
            reason = said_by_node(error.reason) if isinstance(error, asyncssh.Error) else error.strerror
            raise NodeUnreachable(
                f"{where} broke off the SSH handshake: {reason}",
                "Check that an OpenSSH server of version 8 or later listens on that port, and its log.",
            ) from None
        finally:
            if not witness.connected:
                connection.close()

    async def presented_host_key(self, endpoint: SshEndpoint) -> str:
        """The host key that answers there now, as a public key line. Raises NodeUnreachable."""
        connection = await self.dial(endpoint)
        where = address(endpoint.host, endpoint.port)
        try:
            async with asyncio.timeout(self._timeouts.login):
                key = await asyncssh.get_server_host_key(
                    sock=connection, config=None, server_host_key_algs=host_keys.accepted_algorithms(endpoint)
                )
        except (TimeoutError, OSError, asyncssh.Error):
            key = None
        finally:
            connection.close()
        if key is None:
            raise NodeUnreachable(
                f"{where} does not show a host key",
                "Check that an OpenSSH server listens on that port.",
            )
        return key.export_public_key().decode("ascii").strip()


class _Witness(asyncssh.SSHClient):
    """Trusts nothing by itself, and remembers what the node showed."""

    def __init__(self) -> None:
        self.connected = False
        self.shown = ""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connected = True

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = f"the key {host_keys.fingerprint_of(key)}"
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = f"a certificate of the CA {host_keys.fingerprint_of(key)}"
        return False


def _host_key_changed(node: Node, witness: _Witness, reason: str) -> HostKeyChanged:
    registered = [host_keys.fingerprint(line) for line in (*node.endpoint.host_keys, *node.endpoint.host_cas)]
    shown = witness.shown or f"a certificate that does not hold ({reason})"
    return HostKeyChanged(
        f"{address(node.endpoint.host, node.endpoint.port)} shows {shown}; {node.name} was registered with "
        f"{', '.join(registered)}",
        "Do not log in there: it may be another machine. If the node was rebuilt, read its key on the node itself "
        f"and register that: jit nodes update {node.name} --host-key …",
    )

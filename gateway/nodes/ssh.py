"""The ssh connector: to any OpenSSH server that trusts the user CA; a connection and a certificate per session."""

import asyncio
import socket
import sys
from collections import deque

import asyncssh
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacketLogger

from gateway.nodes.bounds import said_by_node
from gateway.nodes.errors import UpstreamFailed
from gateway.nodes.login import SshLogins
from gateway.nodes.model import Node
from gateway.nodes.pacing import pace
from gateway.nodes.ports import (
    Exited,
    Lost,
    OpenUpstream,
    Signalled,
    Upstream,
    UpstreamEnd,
    UpstreamKind,
    UpstreamSink,
)

WINDOW_BYTES = 2 << 20
"""What a node may send ahead of the reader, and so what a paused session holds at most."""

GATHERED_BYTES = 64 << 10
"""As much of the output goes on at once, and then everybody else has a turn."""

_START_SECONDS = 10.0


class SshConnector:
    """Opens sessions on nodes of the connector "ssh". Safe to share between all sessions."""

    def __init__(self, logins: SshLogins) -> None:
        self._logins = logins

    async def open(self, node: Node, request: OpenUpstream) -> Upstream:
        """See ports.Connector."""
        key_id = f"jitgate session={request.session_id} user={request.user_id} request={request.request_id}"
        command = _command(request)
        connection = await self._logins.connect(node, request.login, key_id)
        _leave_out_padding(connection)
        pace(connection)
        return SshUpstream(connection, node.name, request, command)


class SshUpstream:
    """One session channel on a connection of its own (see ports.Upstream)."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        node_name: str,
        request: OpenUpstream,
        command: str | None,
    ) -> None:
        self._connection = connection
        self._node_name = node_name
        self._request = request
        self._command = command
        self._channel: _Channel | None = None

    async def start(self, sink: UpstreamSink) -> None:
        channel = _Channel(self._connection)
        terminal = self._request.terminal
        # After the login sshd sends twice with Nagle's algorithm on, so the second waits for our delayed
        # acknowledgement of the first, 40 ms. This runs once the first request is out, when it has an effect.
        asyncio.get_running_loop().call_soon(_acknowledge_at_once, self._connection)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._connection.create_session(
                    lambda: channel,
                    self._command,
                    request_pty="force" if terminal else False,
                    term_type=terminal.term if terminal else None,
                    term_size=(terminal.columns, terminal.rows) if terminal else None,
                    x11_forwarding=False,
                    encoding=None,
                    window=WINDOW_BYTES,
                )
        except (asyncssh.Error, OSError, TimeoutError) as error:
            self.close()
            reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
            raise UpstreamFailed(
                f"{self._node_name} did not start the {self._request.kind}: {reason}",
                "Look into the node's sshd log; its sshd_config may forbid terminals or force a command.",
            ) from None
        self._channel = channel
        channel.attach(sink)

    def pause_reading(self) -> None:
        if self._channel:
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        if self._channel:
            self._channel.resume_reading()

    def write(self, data: bytes) -> None:
        if self._channel and not self._channel.transport.is_closing():
            self._channel.transport.write(data)

    async def drain(self) -> None:
        if self._channel:
            await self._channel.writable.wait()

    def write_eof(self) -> None:
        if self._channel:
            self._channel.transport.write_eof()

    def resize(self, columns: int, rows: int) -> None:
        if self._channel:
            self._channel.transport.change_terminal_size(columns, rows)

    def signal(self, name: str) -> None:
        if self._channel:
            self._channel.transport.send_signal(name)

    def close(self) -> None:
        if self._channel:
            self._channel.detach()
            if self._request.terminal is None:
                # Without a terminal nothing hangs up on the process; where sshd passes signals on, this ends it.
                self.signal("KILL")
        self._connection.close()

    async def wait_closed(self) -> None:
        await self._connection.wait_closed()


class _Channel(asyncssh.SSHClientSession[bytes]):
    """Carries what the channel tells to the sink; paused until it has one, and then whenever the sink wants.

    What arrives at once goes on at once: a program that prints in bits would otherwise cost an event for each.
    """

    transport: asyncssh.SSHClientChannel[bytes]

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self._connection = connection
        self._sink: UpstreamSink = _Nobody()
        self._loop = asyncio.get_running_loop()
        self._paused = True
        self._exit: UpstreamEnd | None = None
        self._end: UpstreamEnd | None = None
        self._held: deque[tuple[bytes, bool]] = deque()
        self._held_bytes = 0
        self._is_due = False

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.transport = chan
        # A paused channel takes what it holds from the front of a list, and moves all the rest each time: for a
        # window full of small packets that is many seconds, in which the gateway does nothing else.
        chan._recv_buf = _FromTheFront()  # type: ignore[assignment]  # noqa: SLF001  # there is no setting for it
        chan.pause_reading()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._held.append((data, datatype is not None))
        self._held_bytes += len(data)
        if self._end is None and self._held_bytes >= GATHERED_BYTES:
            self.transport.pause_reading()
        self._deliver_soon()

    def eof_received(self) -> bool:
        # The process may close its output and still read.
        return True

    def exit_status_received(self, status: int) -> None:
        self._exit = Exited(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._exit = Signalled(signal)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        self._end = self._exit or Lost(_why(exc))
        # The channel forgets what it still holds of the output once this returns.
        self.transport.resume_reading()
        self._deliver_soon()

    def pause_reading(self) -> None:
        self._paused = True
        if self._end is None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._deliver_soon()

    def attach(self, sink: UpstreamSink) -> None:
        self._sink = sink
        self.resume_reading()

    def detach(self) -> None:
        """Tells the sink nothing more."""
        self._sink = _Nobody()

    def _deliver_soon(self) -> None:
        if not self._is_due and not self._paused:
            self._is_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_due = False
        while self._held and not self._paused:
            self._sink.output(*self._gathered())
        if self._paused:
            return
        if self._end is None:
            self.transport.resume_reading()
        else:
            sink, self._sink = self._sink, _Nobody()
            sink.ended(self._end)
            self._connection.close()

    def _gathered(self) -> tuple[bytes, bool]:
        """What is next for one stream, about GATHERED_BYTES at most."""
        data, stderr = self._held.popleft()
        size, parts = len(data), [data]
        while self._held and self._held[0][1] is stderr and size < GATHERED_BYTES:
            data, _ = self._held.popleft()
            size += len(data)
            parts.append(data)
        self._held_bytes -= size
        return (b"".join(parts) if len(parts) > 1 else data), stderr


class _FromTheFront(deque[tuple[bytes, int | None]]):
    """A list to asyncssh, which takes from its front only."""

    def pop(self, index: int = 0) -> tuple[bytes, int | None]:
        return self.popleft()


class _Nobody:
    def output(self, data: bytes, stderr: bool) -> None:
        pass

    def ended(self, end: UpstreamEnd) -> None:
        pass


def _command(request: OpenUpstream) -> str | None:
    """The command line for the login's shell; None starts the shell itself."""
    if request.kind is UpstreamKind.EXEC:
        if not request.command:
            raise ValueError("an exec needs a command")
        return request.command
    if request.shell_profile:
        return f'{request.shell_profile}\nexec "$SHELL" -l'
    return None


def _leave_out_padding(connection: asyncssh.SSHClientConnection) -> None:
    """Sends no empty packet before each packet.

    It is asyncssh's protection of ciphers in CBC mode (RFC 4251, 9.3.1), which are never offered to a node, and
    makes every keystroke two writes here and two wake-ups of sshd.
    """
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    connection.send_packet = send_packet  # type: ignore[method-assign]  # asyncssh has no setting for it


def _acknowledge_at_once(connection: asyncssh.SSHClientConnection) -> None:
    transport: socket.socket | None = connection.get_extra_info("socket")
    if sys.platform == "linux" and transport is not None and transport.fileno() >= 0:
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _why(error: Exception | None) -> str:
    if error is None:
        return "the node closed the session without saying how it ended"
    return f"the connection to the node broke: {_reason(error)}"


def _reason(error: Exception) -> str:
    return said_by_node(error.reason if isinstance(error, asyncssh.Error) else str(error))

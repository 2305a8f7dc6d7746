"""Whether a node can be used, step by step, and what to do about the step that fails."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncssh

from gateway.errors import Refused
from gateway.nodes import host_keys
from gateway.nodes.bounds import said_by_node
from gateway.nodes.dialing import address
from gateway.nodes.errors import HostKeyChanged, LoginRefused
from gateway.nodes.login import SshLogins
from gateway.nodes.model import Node, NodeCheck

_COMMAND = "uname -srm && date +%s"
_STEP_SECONDS = 10.0
_MAX_OUTPUT_BYTES = 4096
_MOST_SKEW_SECONDS = 60  # certificates begin two minutes early, and end two minutes late
_MOMENT = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The steps up to the first that made the next impossible, and what the node said of itself on the way."""

    checks: tuple[NodeCheck, ...]
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> NodeCheck | None:
        return next((check for check in self.checks if not check.passed), None)


class NodeChecker:
    """Logs in to nodes to see whether sessions will work. Sends nothing to a node that does not prove itself."""

    def __init__(self, logins: SshLogins) -> None:
        self._logins = logins

    async def check(self, node: Node, login: str) -> CheckReport:
        """Steps "dial", "host_key", "certificate", "forwarding", "shell", "clock", as `login`.

        Raises for no bad node.
        """
        endpoint = node.endpoint
        where = address(endpoint.host, endpoint.port)
        try:
            socket = await self._logins.dial(endpoint)
        except Refused as refused:
            return CheckReport((_failed("dial", refused),))
        dialled = NodeCheck("dial", True, f"{where} answers")
        try:
            connection = await self._logins.handshake(socket, node, login, f"jitgate check of {node.id}")
        except HostKeyChanged as refused:
            return CheckReport((dialled, _failed("host_key", refused)))
        except LoginRefused as refused:
            return CheckReport((dialled, _host_key(node), _failed("certificate", refused)))
        except Refused as refused:
            return CheckReport((_failed("dial", refused),))
        try:
            accepted = NodeCheck("certificate", True, f"the certificate for {login} is accepted")
            forwarding = await _forwarding(connection, endpoint.port)
            shell, said = await _shell(connection, login)
        finally:
            connection.close()
        platform, clock = self._understood(said)
        properties = {"platform": platform, "ssh_version": _version(connection)}
        return CheckReport(
            (dialled, _host_key(node), accepted, forwarding, shell, *clock),
            {name: value for name, value in properties.items() if value},
        )

    def _understood(self, said: list[str]) -> tuple[str, tuple[NodeCheck, ...]]:
        """The platform, and whether the clock is right; a node that said something else said nothing."""
        if len(said) < 2 or not _MOMENT.fullmatch(said[-1]):
            return said_by_node(said[-1]) if said else "", ()
        skew = int(said[-1]) - self._logins.now().timestamp()
        return said_by_node(said[-2]), (clock_check(skew),)


def clock_check(skew_seconds: float) -> NodeCheck:
    """Of a node whose clock is so much ahead of the gateway's."""
    if abs(skew_seconds) <= _MOST_SKEW_SECONDS:
        return NodeCheck("clock", True, "the node's clock agrees with the gateway's")
    order = "ahead of" if skew_seconds > 0 else "behind"
    return NodeCheck(
        "clock",
        False,
        f"the node's clock is {abs(skew_seconds):.0f} seconds {order} the gateway's",
        "Set both clocks (NTP): the node takes certificates at the time that it believes it is.",
    )


def _failed(step: str, refused: Refused) -> NodeCheck:
    return NodeCheck(step, False, refused.message, refused.what_to_do)


def _host_key(node: Node) -> NodeCheck:
    proofs = (*node.endpoint.host_keys, *node.endpoint.host_cas)
    return NodeCheck("host_key", True, f"proven by {', '.join(host_keys.fingerprint(line) for line in proofs)}")


async def _forwarding(connection: asyncssh.SSHClientConnection, port: int) -> NodeCheck:
    """Asks the node to forward to its own sshd: who could do that could go round the recording."""
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            channel, _ = await connection.create_connection(asyncssh.SSHTCPSession, "127.0.0.1", port)
        channel.abort()
    except asyncssh.ChannelOpenError as error:
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            return NodeCheck("forwarding", True, "forwarding is refused")
    except (asyncssh.Error, OSError, TimeoutError):
        pass
    return NodeCheck(
        "forwarding",
        False,
        "the node does not refuse to forward connections, which would not be recorded",
        "Put DisableForwarding yes into the Match block of the login, reload sshd and check again.",
    )


async def _shell(connection: asyncssh.SSHClientConnection, login: str) -> tuple[NodeCheck, list[str]]:
    """Runs a command on a terminal, as sessions do, and returns the lines that it said."""
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            result = await connection.run(
                _COMMAND, request_pty="force", term_type="dumb", encoding=None, stdin=asyncssh.DEVNULL
            )
    except (asyncssh.Error, OSError, TimeoutError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    else:
        output = result.stdout if isinstance(result.stdout, bytes) else b""
        # The login's own start-up files may say something first.
        lines = output[-_MAX_OUTPUT_BYTES:].decode("utf-8", "replace").strip().split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if result.exit_status == 0:
            return NodeCheck("shell", True, f"commands run as {login}"), said
        reason = said[-1] if said else f"exit status {result.exit_status}"
    return (
        NodeCheck(
            "shell",
            False,
            f"no command runs as {login}: {said_by_node(reason)}",
            f"Give {login} a login shell on the node; sshd_config needs PermitTTY yes and no ForceCommand for it.",
        ),
        [],
    )


def _version(connection: asyncssh.SSHClientConnection) -> str:
    return said_by_node(str(connection.get_extra_info("server_version", "")).removeprefix("SSH-2.0-"))

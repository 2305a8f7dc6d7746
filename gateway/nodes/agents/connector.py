"""The agent connector: sessions on nodes that dial the gateway (see ports.Connector)."""

import asyncio
from typing import Final

from gateway.errors import Kind, Refused
from gateway.nodes.agents.attachments import Attachments
from gateway.nodes.agents.upstream import AgentUpstream
from gateway.nodes.errors import NodeUnreachable
from gateway.nodes.model import Node
from gateway.nodes.ports import OpenUpstream, Upstream, UpstreamKind
from jitgate.v1.agent_pb2 import SessionOrder
from jitgate.v1.session_pb2 import SESSION_KIND_EXEC, SESSION_KIND_SHELL, Terminal

_COME_SECONDS: Final = 10.0
_WHAT_TO_DO: Final = (
    "On the node: jitgate-agent status; journalctl -u jitgate-agent. It dials the gateway's agent address."
)


class AgentConnector:
    """Opens sessions on nodes of the connector "agent". Safe to share between all sessions."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def open(self, node: Node, request: OpenUpstream) -> Upstream:
        """See ports.Connector."""
        order = _order(request)
        attachment = self._attachments.of(node.id)
        if attachment is None:
            raise NodeUnreachable(f"{node.name} cannot be reached: {unreachable(node)}", _WHAT_TO_DO)
        upstream = AgentUpstream(node.name, request)
        try:
            async with asyncio.timeout(_COME_SECONDS):
                await attachment.order(order, upstream)
        except TimeoutError:
            upstream.close()
            message = f"{node.name} cannot be reached: its agent does not answer"
            raise NodeUnreachable(message, _WHAT_TO_DO) from None
        except Refused as refused:
            upstream.close()
            if refused.kind is Kind.FAILED_PRECONDITION or refused.reason == "TOO_MANY_SESSIONS":
                raise
            message = f"{node.name} cannot be reached: {refused.message}"
            raise NodeUnreachable(message, _WHAT_TO_DO) from None
        except BaseException:
            upstream.close()
            raise
        return upstream


def unreachable(node: Node) -> str:
    """Since when the node's agent is not connected."""
    if node.last_seen_at is None:
        return "its agent has never connected"
    return f"its agent is not connected; it was last seen at {node.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"


def _order(request: OpenUpstream) -> SessionOrder:
    """Raises ValueError for an exec of nothing."""
    order = SessionOrder(
        session_id=request.session_id,
        login=request.login,
        kind=SESSION_KIND_EXEC if request.kind is UpstreamKind.EXEC else SESSION_KIND_SHELL,
        lifetime_seconds=max(1, request.valid_seconds),
    )
    if request.kind is UpstreamKind.EXEC:
        if not request.command:
            raise ValueError("an exec needs a command")
        order.command = request.command
    else:
        order.shell_profile = request.shell_profile
    if (terminal := request.terminal) is not None:
        order.terminal.CopyFrom(Terminal(term=terminal.term, columns=terminal.columns, rows=terminal.rows))
    return order

"""The agent connector: sessions on nodes that dial the gateway (see ports.Connector)."""

import asyncio
from typing import Final

from gateway.errors import Kind, Refused
from gateway.nodes.agents.attachments import Attachments
from gateway.nodes.agents.upstream import AgentUpstream
from gateway.nodes.errors import NodeUnreachable
from gateway.nodes.model import Node
from gateway.nodes.ports import OpenUpstream, ResumableSink, ResumableUpstream, UpstreamKind
from jitgate.v1.agent_pb2 import SessionOrder
from jitgate.v1.session_pb2 import SESSION_KIND_EXEC, SESSION_KIND_SHELL, Terminal

_COME_SECONDS: Final = 10.0
_ADOPT_SECONDS: Final = 15.0
_WHAT_TO_DO: Final = (
    "On the node: jitgate-agent status; journalctl -u jitgate-agent. It dials the gateway's agent address."
)


class AgentConnector:
    """Opens sessions on nodes of the connector "agent". Safe to share between all sessions."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def open(self, node: Node, request: OpenUpstream) -> ResumableUpstream:
        """See ports.Connector."""
        order = _order(request)
        attachment = self._attachments.of(node.id)
        if attachment is None:
            raise NodeUnreachable(f"{node.name} cannot be reached: {self._why_not(node)}", _WHAT_TO_DO)
        upstream = AgentUpstream(node.id, node.name, request, self._attachments.kept)
        if request.grace_seconds:
            self._attachments.kept.add(upstream)
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

    async def adopt(
        self,
        node: Node,
        session_id: str,
        *,
        recorded: int,
        recorded_input: int | None,
        grace_seconds: int,
        sink: ResumableSink,
    ) -> ResumableUpstream:
        """See ports.ResumingConnector."""
        kept = self._attachments.kept
        if self._attachments.of(node.id) is None:
            raise NodeUnreachable(f"{node.name} cannot be reached: {self._why_not(node)}", _WHAT_TO_DO)
        if kept.find(node.id, session_id) is not None:
            raise ValueError(f"session {session_id} is here already")
        request = OpenUpstream(
            login="",
            kind=UpstreamKind.SHELL,
            user_id="",
            session_id=session_id,
            request_id="",
            valid_seconds=0,
            grace_seconds=grace_seconds,
        )
        upstream = AgentUpstream(node.id, node.name, request, kept)
        upstream.inherit(recorded, recorded_input, sink)
        kept.add(upstream)
        kept.resume(upstream)
        try:
            async with asyncio.timeout(_ADOPT_SECONDS):
                await upstream.resumed()
        except TimeoutError:
            upstream.leave()
            message = f"{node.name} cannot be reached: its agent does not go on with the session"
            raise NodeUnreachable(message, _WHAT_TO_DO) from None
        except BaseException:
            upstream.leave()
            raise
        # Not before the caller has the upstream that belongs to the output.
        asyncio.get_running_loop().call_soon(upstream.resume_reading)
        return upstream

    def end(self, node_id: str, session_id: str) -> None:
        """See ports.ResumingConnector."""
        self._attachments.kept.end(node_id, session_id)

    def _why_not(self, node: Node) -> str:
        """Why the node's agent cannot be asked here."""
        if node.attached_to not in ("", self._attachments.replica):
            return "its agent is connected to another gateway"
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
        grace_seconds=request.grace_seconds,
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

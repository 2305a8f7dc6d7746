"""One agent's connection, and what is ordered through it."""

import asyncio
import hmac
import secrets
from collections import deque
from typing import Final

from gateway.errors import Kind, Refused
from gateway.nodes.agents import errors
from gateway.nodes.agents.caller import AgentCaller
from gateway.nodes.agents.serving import Serving
from gateway.nodes.agents.upstream import AgentUpstream
from jitgate.v1.agent_pb2 import GatewayHeartbeat, GatewayMessage, ResumeOrder, ServeSession, SessionOrder

MAX_PENDING: Final = 256
"""Sessions that may wait for one agent to come for them."""
_NONCE_BYTES: Final = 16
_RESUMING_AT_ONCE: Final = 64


class Attachment:
    """One agent's connection. `refused` is set, once, when it is over or has to be."""

    def __init__(self, agent: AgentCaller, now: float) -> None:
        self.agent = agent
        self.since = now
        self.heard = True
        """Something came from the agent since the last look."""
        self.refused: Refused | None = None
        self.wake = asyncio.Event()
        """Set when there is something to send, or the end has come."""
        self.left = asyncio.Event()
        """Set when nobody holds it any more."""
        self._outgoing: deque[GatewayMessage] = deque()
        self._answers = False
        self._pending: dict[bytes, tuple[str, AgentUpstream, asyncio.Future[None]]] = {}
        self._calls: set[Serving] = set()
        self.resuming = asyncio.Semaphore(_RESUMING_AT_ONCE)
        """Held while a session is asked for again, so that new ones find room between many of those."""

    async def order(self, order: SessionOrder | ResumeOrder, upstream: AgentUpstream) -> None:
        """Returns once the agent has come for the session. Raises Refused with what the agent or its end says."""
        if self.refused is not None:
            raise self.refused
        if len(self._pending) >= MAX_PENDING:
            raise Refused(
                Kind.RESOURCE_EXHAUSTED,
                "TOO_MANY_SESSIONS",
                "too many sessions wait for this node's agent",
                "Try again in a moment.",
            )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        order.nonce = nonce
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[nonce] = (order.session_id, upstream, came)
        try:
            if isinstance(order, ResumeOrder):
                self.say(GatewayMessage(resume=order))
            else:
                self.say(GatewayMessage(order=order))
            await came
        finally:
            self._pending.pop(nonce, None)

    def say(self, message: GatewayMessage) -> None:
        self._outgoing.append(message)
        self.wake.set()

    def answer(self) -> None:
        """To a heartbeat. An agent that does not read gets one answer to all that it sent."""
        self._answers = True
        self.wake.set()

    def next_message(self) -> GatewayMessage | None:
        if self._outgoing:
            return self._outgoing.popleft()
        if self._answers:
            self._answers = False
            return GatewayMessage(heartbeat=GatewayHeartbeat())
        return None

    def claim(self, serve: ServeSession) -> Serving:
        """The ordered session, once: the call that carries it now.

        Raises Refused UNKNOWN_SESSION, or BROKEN_FRAMES for what `serve` says of it.
        """
        for known, (ordered, upstream, came) in self._pending.items():
            if hmac.compare_digest(known, serve.nonce) and ordered == serve.session_id and not came.done():
                del self._pending[known]
                came.set_result(None)
                serving = upstream.carried(serve)
                self._calls.add(serving)
                return serving
        raise errors.unknown_order()

    def refuse(self, nonce: bytes, refusal: Refused) -> None:
        """The agent will not serve an ordered session. One that is not pending, or no longer, is let pass."""
        pending = self._pending.pop(nonce, None)
        if pending is not None and not pending[2].done():
            pending[2].set_exception(refusal)

    def release(self, serving: Serving) -> None:
        self._calls.discard(serving)

    def end(self, refused: Refused) -> None:
        """The connection ends, and every call of a session on it. Again is harmless."""
        if self.refused is not None:
            return
        self.refused = refused
        for _, _, came in self._pending.values():
            if not came.done():
                came.set_exception(refused)
        for serving in tuple(self._calls):
            serving.lost(refused.message)
        self.wake.set()

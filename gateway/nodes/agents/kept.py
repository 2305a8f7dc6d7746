"""Sessions that outlive a call: asked for again when their agent is there, killed when nobody wants them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from gateway.errors import Refused
from gateway.nodes.agents.attachment import Attachment
from gateway.nodes.agents.upstream import AgentUpstream
from gateway.nodes.ports import Holders
from jitgate.v1.agent_pb2 import EndOrder, GatewayMessage, ResumeOrder

_log = structlog.get_logger("jitgate.agents")

COME_SECONDS: Final = 10.0
"""How long an agent that is connected may take to come for a session."""
SPACING_SECONDS: Final = 0.2
"""Between two orders for the same session."""
MAX_KILLED: Final = 256
"""Killed sessions of one node that are remembered, in case its agent did not hear of it. Of one that was forgotten
the holders are asked, who know that it is over."""


class KeptSessions:
    """Those of this process, one a session (see upstream.Keeper).

    `attachment_of` finds the node's agent while it is connected.
    """

    def __init__(self, attachment_of: Callable[[str], Attachment | None]) -> None:
        self.holders: Holders | None = None
        """Hears of sessions that nobody here knows; nobody does where there is none."""
        self._attachment_of = attachment_of
        self._known: dict[str, dict[str, AgentUpstream]] = {}
        self._killed: dict[str, dict[str, None]] = {}  # by node, oldest first
        self._resuming: dict[AgentUpstream, asyncio.Task[None]] = {}
        self._asked_at: dict[AgentUpstream, float] = {}
        self._unknown: dict[str, Sequence[str]] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}

    def add(self, upstream: AgentUpstream) -> None:
        self._known.setdefault(upstream.node_id, {})[upstream.session_id] = upstream

    def find(self, node_id: str, session_id: str) -> AgentUpstream | None:
        return self._known.get(node_id, {}).get(session_id)

    # -- what upstreams call (upstream.Keeper) ------------------------------------------------------------------

    def resume(self, upstream: AgentUpstream) -> None:
        if upstream not in self._resuming:
            task = self._resuming[upstream] = asyncio.create_task(self._resume(upstream))
            task.add_done_callback(_logged)

    def kill(self, upstream: AgentUpstream) -> None:
        self.end(upstream.node_id, upstream.session_id)

    def forget(self, upstream: AgentUpstream) -> None:
        if self.find(upstream.node_id, upstream.session_id) is upstream:
            known = self._known[upstream.node_id]
            del known[upstream.session_id]
            if not known:
                del self._known[upstream.node_id]
        self._asked_at.pop(upstream, None)

    # -- what the agents' connections bring ---------------------------------------------------------------------

    def named(self, attachment: Attachment, held: Sequence[str]) -> None:
        """The agent that has just connected says what it keeps. It may say what it likes: nothing here is believed
        of any node but its own."""
        node_id = attachment.agent.node_id
        names = dict.fromkeys(held)
        killed = [each for each in self._killed.pop(node_id, {}) if each in names]
        for session_id in killed:
            self.end(node_id, session_id)
        known = dict(self._known.get(node_id, {}))
        for session_id, upstream in known.items():
            if session_id in names:
                self.resume(upstream)
            elif upstream.wants_call:  # and not one that is being opened just now
                upstream.gone("the node's agent has it no more")
        unknown = [each for each in names if each not in known and each not in self._killed.get(node_id, {})]
        if unknown and self.holders is not None:
            self._unknown[node_id] = unknown
            if node_id not in self._telling:
                task = self._telling[node_id] = asyncio.create_task(self._tell(node_id, self.holders))
                task.add_done_callback(_logged)

    def end(self, node_id: str, session_id: str) -> None:
        """Has the agent kill it now, and once more when it connects again and still has it."""
        killed = self._killed.setdefault(node_id, {})
        killed.pop(session_id, None)
        killed[session_id] = None
        if len(killed) > MAX_KILLED:
            del killed[next(iter(killed))]
        attachment = self._attachment_of(node_id)
        if attachment is not None:
            attachment.say(GatewayMessage(end=EndOrder(session_id=session_id)))

    async def stop(self) -> None:
        """Nothing is asked for any more."""
        tasks = (*self._resuming.values(), *self._telling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ----------------------------------------------------------------------------------------------------------

    async def _resume(self, upstream: AgentUpstream) -> None:
        """Asks for a call until one carries the session, or its agent is not connected."""
        loop = asyncio.get_running_loop()
        try:
            while upstream.wants_call:
                spaced = self._asked_at.get(upstream, float("-inf")) + SPACING_SECONDS
                if (early := spaced - loop.time()) > 0:
                    await asyncio.sleep(early)
                    continue
                attachment = self._attachment_of(upstream.node_id)
                if attachment is None or attachment.refused is not None:
                    upstream.away("the node's agent is not connected")
                    return  # when it is, `named` asks
                self._asked_at[upstream] = loop.time()
                await self._ask(attachment, upstream)
        finally:
            del self._resuming[upstream]
            if upstream.is_over:
                self._asked_at.pop(upstream, None)

    async def _ask(self, attachment: Attachment, upstream: AgentUpstream) -> None:
        try:
            async with attachment.resuming:
                async with asyncio.timeout(COME_SECONDS):
                    await attachment.order(ResumeOrder(session_id=upstream.session_id), upstream)
                    await upstream.settled()
        except TimeoutError:
            upstream.away("the node's agent does not go on with it")
        except Refused as refused:
            if refused.reason == "NOT_KEPT":
                upstream.gone(refused.message)
            else:
                upstream.away(f"the node's agent cannot go on with it: {refused.message}")

    async def _tell(self, node_id: str, holders: Holders) -> None:
        """One after the other, and only the newest: an agent that connects all the time is no reason for more."""
        try:
            while (unknown := self._unknown.pop(node_id, None)) is not None:
                await holders.held(node_id, unknown)
        finally:
            del self._telling[node_id]


def _logged(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("agents.kept_session", exc_info=failure)

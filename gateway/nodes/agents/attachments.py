"""The agents that are connected to this process, and what is ordered from them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import structlog

from gateway.errors import Kind, Refused
from gateway.identity.ports import Clock
from gateway.nodes.agents import errors
from gateway.nodes.agents.attachment import Attachment
from gateway.nodes.agents.caller import AgentCaller, judged
from gateway.nodes.agents.kept import KeptSessions
from gateway.nodes.ports import Holders
from gateway.nodes.registry import NODES_TOPIC
from gateway.store import agents, events, nodes
from gateway.store.changes import Changes
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.agents")

LOOK_SECONDS: Final = 15.0
"""How long a change of a node that nobody told this process of can go unseen."""
_SHORTEST_STAY_SECONDS: Final = 1.0
_CONNECTIONS_AT_ONCE: Final = 10.0
_CONNECTIONS_PER_SECOND: Final = 0.5
_SPACING_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0


class Attachments:
    """All connected agents, one a node."""

    def __init__(self, database: Database, clock: Clock, changes: Changes, *, replica: str) -> None:
        self._database = database
        self.clock = clock
        self._changes = changes
        self.replica = replica
        self._of: dict[str, Attachment] = {}
        self._paces: dict[str, tuple[float, float]] = {}  # by node: connections left, and when that was
        self.kept = KeptSessions(self._of.get)
        self._detaching: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def of(self, node_id: str) -> Attachment | None:
        return self._of.get(node_id)

    def tell(self, holders: Holders) -> None:
        """Who hears of sessions that agents keep and nobody here knows."""
        self.kept.holders = holders

    async def recover(self) -> None:
        """Nobody is connected to a process that has just started."""
        async with self._database.transaction() as tx:
            await agents.detach_all(tx.connection, self.replica)

    @contextlib.asynccontextmanager
    async def attached(
        self, agent: AgentCaller, properties: Mapping[str, str], held: Sequence[str]
    ) -> AsyncIterator[Attachment]:
        """The agent is connected while the block runs; an earlier connection of the same node ends.

        `held` are the sessions that it says it keeps.

        Raises Refused: GATEWAY_STOPPING, ATTACHED_TOO_SOON, and what authenticating raises.
        """
        if self._is_stopping:
            raise errors.stopping()
        loop = asyncio.get_running_loop()
        before = self._of.get(agent.node_id)
        if before is not None and loop.time() - before.since < _SHORTEST_STAY_SECONDS:
            raise errors.too_soon()
        self._pace(agent.node_id, loop.time())
        attachment = self._of[agent.node_id] = Attachment(agent, loop.time())
        if before is not None:
            before.end(errors.replaced(agent.node_id))
        try:
            await self._write_attached(agent, properties, replaced=before is not None)
            self.kept.named(attachment, held)
            yield attachment
        finally:
            attachment.end(Refused(Kind.UNAVAILABLE, "AGENT_GONE", "the node's agent is not connected any more"))
            if self._of.get(agent.node_id) is attachment:
                del self._of[agent.node_id]
                # Whatever becomes of the call, which ends because its agent has left.
                task = asyncio.create_task(self._write_detached(agent.node_id))
                self._detaching.add(task)
                task.add_done_callback(self._detaching.discard)
            attachment.left.set()

    async def run(self) -> None:
        """Looks after what changes beneath open connections, until it is cancelled."""
        with self._changes.subscribe(NODES_TOPIC) as changed:
            while True:
                changed.clear()
                try:
                    await self._look()
                except Exception:  # noqa: BLE001 - logged; the next look may work again
                    _log.exception("agents.blind")
                await asyncio.sleep(_SPACING_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()

    async def stop(self) -> None:
        """Ends every connection and takes no more; the agents come back when there is a gateway again."""
        self._is_stopping = True
        leaving = tuple(self._of.values())
        for attachment in leaving:
            attachment.end(errors.stopping())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                for attachment in leaving:
                    await attachment.left.wait()
                await asyncio.gather(*self._detaching)
        await self.kept.stop()

    def _pace(self, node_id: str, now: float) -> None:
        """Each connection costs a transaction, and questions about what is kept.

        Raises Refused ATTACHED_TOO_SOON.
        """
        left, at = self._paces.get(node_id, (_CONNECTIONS_AT_ONCE, now))
        left = min(_CONNECTIONS_AT_ONCE, left + (now - at) * _CONNECTIONS_PER_SECOND)
        self._paces[node_id] = (left, now)
        if left < 1:
            raise errors.too_soon()
        self._paces[node_id] = (left - 1, now)

    async def _look(self) -> None:
        judging = tuple(self._of.values())
        if not judging:
            return
        now = self.clock()
        async with self._database.read() as connection:
            known = await agents.standings(connection, [each.agent.node_id for each in judging])
        for each in judging:
            refused = judged(known.get(each.agent.node_id), each.agent.key_hash, now)
            if refused is not None:
                each.end(refused)
        heard = [each.agent.node_id for each in judging if each.heard]
        for each in judging:
            each.heard = False
        if heard:
            async with self._database.transaction() as tx:
                await agents.seen(tx.connection, heard, now)

    async def _write_attached(self, agent: AgentCaller, properties: Mapping[str, str], *, replaced: bool) -> None:
        now = self.clock()
        async with self._database.transaction() as tx:
            # Judged once more, where a removal or a lock comes before it or after it.
            node = await nodes.get(tx.connection, agent.node_id, for_update=True)
            refused = judged(await agents.standing(tx.connection, agent.node_id), agent.key_hash, now)
            if refused is not None:
                raise refused
            await agents.attached(tx.connection, agent.node_id, self.replica, now, properties)
            if replaced and node is not None:
                event = events.Event(
                    type="agent.replaced",
                    at=now,
                    subject=node.id,
                    summary=f"A second agent with the key of {node.name} took the place of the first",
                    source_address=agent.source_address,
                    account=node.account,
                    region=node.region,
                )
                await events.append(tx.connection, event)

    async def _write_detached(self, node_id: str) -> None:
        async with self._database.transaction() as tx:
            if node_id not in self._of:  # it may be back
                await agents.detached(tx.connection, node_id, self.replica, self.clock())

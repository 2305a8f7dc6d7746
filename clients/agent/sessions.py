"""The sessions of an agent: what the gateway orders, and what outlives a gateway."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from clients.agent import logins
from clients.agent.carrier import Call
from clients.agent.cgroups import SessionGroups
from clients.agent.flow import Budget
from clients.agent.log import log
from clients.agent.memory import Spare
from clients.agent.process import Plan
from clients.agent.session import Session, since_boot
from jitgate.v1.agent_pb2 import (
    SESSION_REFUSAL_BUSY,
    SESSION_REFUSAL_LOGIN,
    SESSION_REFUSAL_UNSPECIFIED,
    AgentMessage,
    EndOrder,
    ResumeOrder,
    SessionOrder,
    SessionRefusal,
    SessionRefused,
)

MOST_SESSIONS = 4096
"""So many can be named to a gateway."""
LONGEST_GRACE_SECONDS = 3600


class Link(Protocol):
    """The connection to the gateway that ordered."""

    def dial(self) -> Call:
        """A new Serve call."""

    def say(self, message: AgentMessage) -> None: ...


class Sessions:
    """All that run, or that wait for a gateway to go on with them."""

    def __init__(self, most: int, clock: Callable[[], float] = since_boot) -> None:
        self._most = min(most, MOST_SESSIONS)
        self._clock = clock
        self._budget = Budget()
        self._groups = SessionGroups()
        self._spare = Spare()
        self._tasks: dict[Session, asyncio.Task[None]] = {}

    def held(self) -> list[str]:
        """Ids of those that can be gone on with."""
        return [session.id for session in self._tasks if session.is_kept]

    def begin(self, order: SessionOrder, link: Link) -> None:
        if len(self._tasks) >= self._most:
            message = f"it runs {self._most} sessions and takes no more"
            _refuse(link, order, SESSION_REFUSAL_BUSY, message)
            return
        if order.grace_seconds and any(session.id == order.session_id for session in self._tasks):
            _refuse(link, order, SESSION_REFUSAL_UNSPECIFIED, "it runs that session already")
            return
        try:
            login = logins.find(order.login)
        except logins.LoginRefused as refused:
            _refuse(link, order, SESSION_REFUSAL_LOGIN, str(refused))
            return
        has_terminal = order.HasField("terminal")
        plan = Plan(
            session_id=order.session_id,
            login=login,
            lifetime=float(order.lifetime_seconds),
            command=order.command,
            profile=order.shell_profile,
            term=order.terminal.term if has_terminal else "",
            size=(order.terminal.columns, order.terminal.rows) if has_terminal else None,
        )
        grace = float(min(order.grace_seconds, LONGEST_GRACE_SECONDS))
        session = Session(plan, self._budget, self._groups, grace, self._clock)
        log("session_began", session=session.id, login=order.login)
        session.carry(link.dial, order.nonce)
        self._tasks[session] = asyncio.create_task(self._run(session))

    def resume(self, order: ResumeOrder, link: Link) -> None:
        for session in self._tasks:
            if session.id == order.session_id and session.is_kept:
                session.carry(link.dial, order.nonce)
                return
        _refuse(link, order, SESSION_REFUSAL_UNSPECIFIED, "it does not keep that session")

    def end(self, order: EndOrder) -> None:
        for session in self._tasks:
            if session.id == order.session_id:
                session.end()

    async def let_go(self) -> None:
        """The gateway is gone; returns when that holds for every session that cannot wait for it."""
        kept = [session for session in self._tasks if session.is_kept]
        await asyncio.gather(*(session.let_go() for session in kept))
        await self._kill([session for session in self._tasks if not session.is_kept])

    async def close(self) -> None:
        """Kills all of them."""
        await self._kill(list(self._tasks))

    async def _kill(self, sessions: list[Session]) -> None:
        tasks = [self._tasks[session] for session in sessions]
        for session in sessions:
            session.end()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            log("session_ended", session=session.id)
            del self._tasks[session]
            self._spare.give_back()


def _refuse(
    link: Link, order: SessionOrder | ResumeOrder, reason: "SessionRefusal.ValueType", message: str
) -> None:
    log("session_refused", session=order.session_id, reason=message)
    refused = SessionRefused(nonce=order.nonce, reason=reason, message=message)
    link.say(AgentMessage(refused=refused))

"""What an agent in this process holds, to wait for."""

from collections.abc import Callable

from clients.agent.agent import Agent


def held(agent: Agent) -> Callable[[], bool]:
    """Whether the one session waits for a call."""
    (session,) = agent._sessions._tasks
    return lambda: session._carrier is None and session._expiring is not None


def has_none(agent: Agent) -> Callable[[], bool]:
    return lambda: not agent._sessions._tasks

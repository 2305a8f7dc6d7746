"""The caller of the call that is being answered: set by the interceptor, read by the services."""

from contextvars import ContextVar
from typing import Protocol

from gateway.identity.caller import Caller
from gateway.nodes.agents.caller import AgentCaller
from jitgate.v1.annotations_pb2 import Permission


class Bearer(Protocol):
    """Whoever a certificate proves: a person or a node's agent."""

    def require(self, permission: "Permission.ValueType", /) -> None:
        """Raises Refused PERMISSION_DENIED NOT_PERMITTED."""


_caller: ContextVar[Bearer | None] = ContextVar("caller", default=None)


def set_caller(caller: Bearer | None) -> None:
    _caller.set(caller)


def caller() -> Caller:
    """The proven person. RuntimeError in a method that has no such caller: public ones, those of agents."""
    match _caller.get():
        case Caller() as person:
            return person
    raise RuntimeError("a method asked for a person who is not there")


def agent() -> AgentCaller:
    """The proven agent. RuntimeError in a method that has no such caller."""
    match _caller.get():
        case AgentCaller() as found:
            return found
    raise RuntimeError("a method asked for an agent that is not there")

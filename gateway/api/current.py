"""The caller of the call that is being answered: set by the interceptor, read by the services."""

from contextvars import ContextVar

from gateway.identity.caller import Caller

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def set_caller(caller: Caller | None) -> None:
    _caller.set(caller)


def caller() -> Caller:
    """The proven caller. RuntimeError in a public method: those have none."""
    current = _caller.get()
    if current is None:
        raise RuntimeError("a public method asked who is calling")
    return current

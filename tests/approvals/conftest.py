"""The core is pure: while its tests run, clock, files, sockets and randomness raise."""

import builtins
import gc
import importlib
import io
import os
import pkgutil
import random
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from types import FrameType
from typing import Any, NoReturn

import pytest

import approvals


class Impure(AssertionError):
    pass


def forbidden(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise Impure(f"approvals reached for {name}")

    return refuse


def core_is_running() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).split(".")[0] == "approvals":
            return True
        frame = frame.f_back
    return False


def forbidden_to_the_core(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Raises while the core is at work; pytest and hypothesis, which look at the clock too, get the real one."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if core_is_running():
            raise Impure(f"approvals reached for {name}")
        return real(*args, **kwargs)

    return guarded


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class ClocklessDatetime(datetime, metaclass=_AnyDatetime):
    """Stands in for `datetime` inside the core: all of it but the clock."""

    now = forbidden("datetime.now")
    utcnow = forbidden("datetime.utcnow")
    today = forbidden("datetime.today")


class ClocklessDate(date):
    today = forbidden("date.today")


STAND_INS = {datetime: ClocklessDatetime, date: ClocklessDate}

FORBIDDEN: list[tuple[Any, tuple[str, ...]]] = [
    (builtins, ("open",)),
    (io, ("open",)),
    (os, ("open", "urandom", "getenv")),
    (random, ("random", "randint", "choice", "shuffle", "getrandbits", "uniform")),
    (secrets, ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "choice")),
    (socket, ("create_connection", "getaddrinfo")),
    (socket.socket, ("__init__",)),
    (time, ("time", "time_ns", "sleep", "localtime", "gmtime")),
    (uuid, ("uuid1", "uuid4")),
]


CORE = [importlib.import_module(f"approvals.{m.name}") for m in pkgutil.iter_modules(approvals.__path__)]


@pytest.fixture(autouse=True)
def no_garbage_of_others() -> Iterator[None]:
    """What earlier tests left is not collected in the midst of the core, where its finalizers would be refused."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def purity(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in FORBIDDEN:
        for name in names:
            guarded = forbidden_to_the_core(f"{module.__name__}.{name}", getattr(module, name))
            monkeypatch.setattr(module, name, guarded)
    for module in CORE:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in STAND_INS:
                monkeypatch.setattr(module, name, STAND_INS[value])

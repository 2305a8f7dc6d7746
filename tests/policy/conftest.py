"""The policy core is pure: in its tests clock, files, sockets and randomness raise when it reaches for them."""

import builtins
import gc
import io
import os
import random
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import policy.document
import policy.evaluate
import policy.validate  # noqa: F401 # the schema is read at import, before the doors are shut

_DOORS: tuple[tuple[Any, str], ...] = (
    (time, "time"),
    (time, "monotonic"),
    (time, "perf_counter"),
    (time, "sleep"),
    (builtins, "open"),
    (io, "open"),
    (os, "open"),
    (os, "urandom"),
    (os, "stat"),
    (Path, "open"),
    (Path, "read_text"),
    (socket, "socket"),
    (socket, "create_connection"),
    (random, "random"),
    (random, "randrange"),
    (random, "Random"),
    (secrets, "token_bytes"),
    (uuid, "uuid4"),
)


def _called_by_policy() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "policy":
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None ends the walk
    return False


def _shut(name: str, door: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*arguments: Any, **named: Any) -> Any:
        if _called_by_policy():
            raise AssertionError(f"the policy core reached for {name}")
        return door(*arguments, **named)

    return guarded


@pytest.fixture(autouse=True)
def no_garbage_of_others() -> Iterator[None]:
    """What earlier tests left is not collected in the midst of the core, where its finalizers would be refused."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def pure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only calls from within the core are refused: pytest and hypothesis need files and clocks of their own."""
    for owner, name in _DOORS:
        door = getattr(owner, name)
        if isinstance(door, type):
            shut = type(name, (door,), {"__new__": _shut_class(name, door)})
            monkeypatch.setattr(owner, name, shut)
        else:
            monkeypatch.setattr(owner, name, _shut(name, door))


def _shut_class(name: str, door: type) -> Callable[..., Any]:
    def new(cls: type, *arguments: Any, **named: Any) -> Any:
        if _called_by_policy():
            raise AssertionError(f"the policy core reached for {name}")
        return door.__new__(cls, *arguments, **named)

    return new

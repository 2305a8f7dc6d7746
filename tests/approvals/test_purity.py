"""The guard of conftest.py bites: what the core must not reach for raises while the core is running."""

import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from approvals import opening, window
from tests.approvals.builders import AUTO, T0
from tests.approvals.builders import opening as an_opening

# Each is looked up only when it runs, so that it meets the guard.
REACHES: dict[str, Callable[[], object]] = {
    "time.time": lambda: time.time(),  # noqa: PLW0108 - looked up late
    "uuid.uuid4": lambda: uuid.uuid4(),  # noqa: PLW0108 - looked up late
    "random.random": lambda: random.random(),  # noqa: PLW0108 - looked up late
    "os.urandom": lambda: os.urandom(1),
    "socket.__init__": lambda: socket.socket().close(),
    "builtins.open": lambda: open("/dev/null").close(),  # noqa: PTH123 - the guarded function itself
    "io.open": lambda: Path("/dev/null").read_bytes(),
}


@pytest.mark.parametrize("name", REACHES)
def test_reaching_out_of_the_core_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "access_duration", lambda _: REACHES[name]())
    with pytest.raises(AssertionError, match=f"reached for {name}"):
        opening.open_request(an_opening(AUTO), T0)
    REACHES[name]()


def test_the_core_has_no_clock() -> None:
    with pytest.raises(AssertionError, match=r"datetime\.now"):
        window.datetime.now()  # type: ignore[attr-defined]  # the core's own name for it

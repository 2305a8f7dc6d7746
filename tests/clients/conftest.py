import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.standin import StandIn, standin, write_profile

Jit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with standin() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, server: StandIn) -> Path:
    """Profiles of alice (default) and bob, signed in."""
    write_profile(server, tmp_path, "alice")
    write_profile(server, tmp_path, "bob", name="bob")
    return tmp_path


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JIT_")}
    return kept | {"JIT_HOME": str(home), "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}


@pytest.fixture
def jit(environment: dict[str, str]) -> Jit:
    """Runs the real command line: jit("nodes", "list", profile="bob", given="…")."""

    def run(
        *arguments: str,
        profile: str = "default",
        given: str = "",
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clients.cli", *arguments],
            env=environment | {"JIT_PROFILE": profile} | variables,
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run

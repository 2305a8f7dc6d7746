"""A gateway of its own for each module, and nodes to reach through it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A freshly started gateway that nobody has signed in to."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def on(gateway: GatewayProcess, folder: Path) -> Iterator[Stage]:
    """The stage, set up on the module's gateway."""
    with stage(gateway, folder) as found:
        yield found

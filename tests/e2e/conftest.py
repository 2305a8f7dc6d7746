"""A gateway of its own for each module, or one for those that share; and the stage on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clock import Clock, clocked_gateway
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


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Clock]]:
    """One stage for all modules that leave it as they found it, on a gateway whose clock can be set."""
    folder = tmp_path_factory.mktemp("shared")
    gateway, clock = clocked_gateway(folder / "gateway")
    # Everybody signs in hours ago, so that tests can ask for access in the past. Sessions begin on time: nodes
    # have real clocks, and take no certificate of another time.
    clock.set(-3 * 3600)
    gateway.start()
    try:
        with stage(gateway, folder) as found:
            clock.set(0)
            yield found, clock
    finally:
        gateway.stop()


@pytest.fixture
def clock(shared_stage: tuple[Stage, Clock]) -> Iterator[Clock]:
    """The shared stage's clock; right again afterwards."""
    yield shared_stage[1]
    shared_stage[1].set(0)

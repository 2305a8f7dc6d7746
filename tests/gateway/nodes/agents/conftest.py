from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.nodes.agents.puppet import Puppet, attached
from tests.gateway.nodes.agents.rig import Rig, running


@pytest.fixture
async def rig(tmp_path: Path, database_url: str) -> AsyncIterator[Rig]:
    async with running(tmp_path, database_url) as made:
        yield made


@pytest.fixture
async def puppet(rig: Rig) -> AsyncIterator[Puppet]:
    async with attached(await rig.join(await rig.invite())) as made:
        yield made

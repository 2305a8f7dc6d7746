from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.nodes.agents.rig import Rig, running


@pytest.fixture
async def rig(tmp_path: Path, database_url: str) -> AsyncIterator[Rig]:
    async with running(tmp_path, database_url) as made:
        yield made

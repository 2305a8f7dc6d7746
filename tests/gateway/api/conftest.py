from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, World, manual
from tests.gateway.api.serving import Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An organization with an auto-approval and a two-level manual policy, and its gateway."""
    world = World(tmp_path)
    await world.build()
    await world.put(PolicyKind.AUTO, AUTO)
    await world.put(PolicyKind.MANUAL, manual())
    async with serving(world) as running:
        yield running
    await world.database.close()

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, World, manual


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """People, nodes and no policy at all."""
    built = World(tmp_path, database_url)
    await built.build()
    yield built
    await built.database.close()


@pytest.fixture
async def ready(world: World) -> World:
    """With an auto-approval policy for dev nodes and a manual one of two levels for databases."""
    await world.put(PolicyKind.AUTO, AUTO)
    await world.put(PolicyKind.MANUAL, manual())
    return world

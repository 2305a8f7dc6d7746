from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, World, manual
from tests.gateway.http.web import Web, running


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """As the use cases' own: sam and sue are level one for databases, olga and pete level two."""
    built = World(tmp_path, database_url)
    # Cookies have an end, and whoever keeps them looks at a clock of their own.
    built.clock.now = datetime.now(UTC)
    await built.build()
    await built.put(PolicyKind.AUTO, AUTO)
    await built.put(PolicyKind.MANUAL, manual())
    yield built
    await built.database.close()


@pytest.fixture
async def web(world: World, tmp_path: Path) -> AsyncIterator[Web]:
    async with running(Web(world, tmp_path)) as started:
        yield started

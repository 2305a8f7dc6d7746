from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.database import Database


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/jitgate.db")
    yield database
    await database.close()

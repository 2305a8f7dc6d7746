from collections.abc import AsyncIterator

import pytest

from gateway.store.database import Database


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """A database without tables."""
    database = Database(empty_url)
    yield database
    await database.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the gateway's tables, and nothing in them but what the first migration writes."""
    database = Database(database_url)
    yield database
    await database.close()

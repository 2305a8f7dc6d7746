"""Both databases, so that whatever is stored is tested on each."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.database import Database
from gateway.store.migrate import migrate
from tests.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file as the migrations leave it, to copy from."""
    file = tmp_path_factory.mktemp("migrated") / "jitgate.db"

    async def make() -> None:
        database = Database(f"sqlite:///{file}")
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_server(request: pytest.FixtureRequest) -> PostgresqlServer | None:
    """None: SQLite, which needs none."""
    if request.param == "sqlite":
        return None
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server


@pytest.fixture
async def database_url(
    database_server: PostgresqlServer | None, migrated: Path, tmp_path: Path
) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    if database_server is None:
        file = tmp_path / "jitgate.db"
        shutil.copy(migrated, file)
        yield f"sqlite:///{file}"
        return
    name = await database_server.new_database()
    yield database_server.url(name)
    await database_server.give_back(name)


@pytest.fixture
async def empty_url(database_server: PostgresqlServer | None, tmp_path: Path) -> AsyncIterator[str]:
    """A database without tables."""
    if database_server is None:
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    name = await database_server.new_database(empty=True)
    yield database_server.url(name)
    await database_server.drop(name)

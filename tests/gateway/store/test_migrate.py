import asyncio
import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from gateway.store import tables, targets
from gateway.store.database import Database
from gateway.store.migrate import DatabaseTooNew, migrate


async def _schema(database: Database) -> dict[str, list[str]]:
    """Name -> definition, its parts sorted: Alembic puts columns and constraints in an order of its own, and what
    a later step adds comes last."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'")
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return {row.name: _parts(row.sql) for row in rows}


def _parts(sql: str) -> list[str]:
    head, _, rest = re.sub(r"\s+", " ", sql).partition("(")
    body, _, tail = rest.rpartition(")")
    parts = re.split(r",(?![^()]*\))", body)  # at the commas that are in no parentheses
    # SQLite quotes the name of a table that was made anew because a column changed.
    return [head.replace('"', "").strip(), tail.strip(), *sorted(part.strip() for part in parts)]


async def test_the_migrations_make_exactly_the_tables_that_the_code_declares(
    empty: Database, tmp_path: Path
) -> None:
    await migrate(empty)
    declared = Database(f"sqlite+aiosqlite:///{tmp_path}/declared.db")
    async with declared.transaction() as tx:
        await tx.connection.run_sync(tables.metadata.create_all)
    try:
        assert await _schema(empty) == await _schema(declared)
    finally:
        await declared.close()

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    async with empty.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(empty: Database) -> None:
    await migrate(empty)
    before = await _schema(empty)
    await migrate(empty)
    assert await _schema(empty) == before


@pytest.mark.rule("R1")
@pytest.mark.rule("R4")
async def test_access_is_enabled_in_the_default_account_and_region_and_nowhere_else(empty: Database) -> None:
    await migrate(empty)
    async with empty.read() as connection:
        assert await targets.is_enabled(connection, "default", "default")
        assert not await targets.is_enabled(connection, "default", "eu-central-1")
        assert not await targets.is_enabled(connection, "production", "default")


async def test_processes_that_start_together_take_turns(tmp_path: Path) -> None:
    databases = [Database(f"sqlite+aiosqlite:///{tmp_path}/jitgate.db") for _ in range(3)]
    await asyncio.gather(*(migrate(database) for database in databases))
    for database in databases:
        async with database.read() as connection:
            assert len(await targets.all_targets(connection)) == 1
        await database.close()


async def test_a_database_of_a_newer_gateway_is_refused(empty: Database) -> None:
    await migrate(empty)
    async with empty.transaction() as tx:
        await tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew, match="restore a backup"):
        await migrate(empty)


async def test_a_step_that_fails_leaves_the_database_as_it_was(empty: Database) -> None:
    async with empty.transaction() as tx:
        await tx.connection.execute(text("CREATE TABLE users (id INTEGER)"))
    with pytest.raises(Exception, match="users"):
        await migrate(empty)
    assert list(await _schema(empty)) == ["users"]

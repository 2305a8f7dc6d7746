import asyncio
import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, String, inspect, text

from gateway.store import tables, targets
from gateway.store.database import Database
from gateway.store.migrate import DatabaseTooNew, migrate, newest_version, version_of


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


async def _tables(database: Database) -> set[str]:
    async with database.read() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return set(names) - {"alembic_version"}


async def test_the_migrations_make_exactly_the_tables_that_the_code_declares(empty: Database) -> None:
    await migrate(empty)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    async with empty.read() as connection:
        assert await connection.run_sync(differences) == []
        assert await version_of(connection) == newest_version()
    assert await _tables(empty) == set(tables.metadata.tables)


async def test_on_sqlite_even_the_definitions_are_the_same(tmp_path: Path, migrated: Path) -> None:
    made, declared = Database(f"sqlite:///{migrated}"), Database(f"sqlite:///{tmp_path}/declared.db")
    async with declared.transaction() as tx:
        await tx.connection.run_sync(tables.metadata.create_all)
    try:
        assert await _schema(made) == await _schema(declared)
    finally:
        await made.close()
        await declared.close()


async def test_postgresql_orders_every_text_by_its_bytes(database: Database) -> None:
    if database.is_sqlite:
        return
    text_columns = {
        (table.name, column.name)
        for table in tables.metadata.tables.values()
        for column in table.c
        if isinstance(column.type, String)
    }
    query = text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type IN ('character varying', 'text')"
    )
    async with database.read() as connection:
        found = {(table, column): collation for table, column, collation in await connection.execute(query)}
    assert text_columns <= set(found)
    assert set(found.values()) == {"C"}


async def test_migrating_again_changes_nothing(empty: Database) -> None:
    await migrate(empty)
    async with empty.read() as connection:
        before = await targets.all_targets(connection)
    await migrate(empty)
    async with empty.read() as connection:
        assert await targets.all_targets(connection) == before


@pytest.mark.rule("R1")
@pytest.mark.rule("R4")
async def test_access_is_enabled_in_the_default_account_and_region_and_nowhere_else(empty: Database) -> None:
    await migrate(empty)
    async with empty.read() as connection:
        assert await targets.is_enabled(connection, "default", "default")
        assert not await targets.is_enabled(connection, "default", "eu-central-1")
        assert not await targets.is_enabled(connection, "production", "default")


async def test_processes_that_start_together_take_turns(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(3)]
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
    assert await _tables(empty) == {"users"}

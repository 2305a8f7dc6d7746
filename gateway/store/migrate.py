"""Bringing the database to this version's tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import turns
from gateway.store.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"


MIGRATION = "migration"
"""The turn that whoever changes the layout takes."""


class DatabaseTooNew(Exception):
    """A newer gateway has migrated the database. Start that version, or restore a backup made before it."""


async def migrate(database: Database) -> None:
    """Runs the steps that the database lacks, all or none; how long that takes is up to the data.

    Replicas that start together take turns. Raises DatabaseTooNew, DatabaseUnavailable.
    """
    if database.is_sqlite:
        async with database.transaction() as transaction:
            await transaction.connection.run_sync(_upgrade)
        return
    patient = Database(database.url.render_as_string(hide_password=False), connections=1, patient=True)
    try:
        async with patient.transaction() as transaction:
            await turns.take(transaction.connection, MIGRATION)
            await transaction.connection.run_sync(_upgrade)
            await transaction.connection.run_sync(_order_text_by_bytes)
    finally:
        await patient.close()


async def version_of(connection: AsyncConnection) -> str:
    """The last step that the database has seen; "" for one without tables."""
    return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision() or "")


def newest_version() -> str:
    """The last step that this gateway knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseTooNew(
            f"the database has a version that this gateway does not know ({error}). "
            "Start the newer gateway that made it, or restore a backup made before it"
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


_TEXT_IN_ANOTHER_ORDER = text("""
    SELECT c.oid::regclass::text AS table, quote_ident(a.attname) AS column,
           format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0
      AND NOT a.attisdropped AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation)
    ORDER BY 1, a.attnum
""")


def _order_text_by_bytes(connection: Connection) -> None:
    """Gives every text column the collation "C".

    Then lists are ordered as on SQLite whatever language the database was made for, and an upgrade of the host's
    libc or ICU, which changes the order of words, cannot damage an index.
    """
    for row in connection.execute(_TEXT_IN_ANOTHER_ORDER).all():
        connection.exec_driver_sql(
            f'ALTER TABLE {row.table} ALTER COLUMN {row.column} TYPE {row.type} COLLATE pg_catalog."C"'
        )

"""Bringing the database to this version's tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from gateway.store.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"
# Any number that nothing else in the database uses: replicas that start together take turns.
_POSTGRESQL_LOCK = 7_202_118_544


class DatabaseTooNew(Exception):
    """A newer gateway has migrated the database. Start that version, or restore a backup made before it."""


async def migrate(database: Database) -> None:
    """Runs the steps that the database lacks, all or none. Raises DatabaseTooNew."""
    async with database.transaction() as transaction:
        if not database.is_sqlite:
            await transaction.connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRESQL_LOCK}
            )
        await transaction.connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseTooNew(
            f"the database has a version that this gateway does not know ({error}). "
            "Start the newer gateway that made it, or restore a backup made before it"
        ) from error

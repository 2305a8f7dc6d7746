"""The database: connections, transactions, and column types that behave the same everywhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Dialect, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRITE = "jitgate_write"
_TRANSACTION = "jitgate_transaction"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole microseconds since 1970, so that every database orders it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Refuses naive datetimes with ValueError: their zone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        return (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Transaction:
    """One unit of work: a connection, and what to do once it is committed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, action: Callable[[], None]) -> None:
        """Runs `action` when, and only when, the transaction has been committed. It must not fail or block."""
        self._after_commit.append(action)

    @staticmethod
    def of(connection: AsyncConnection) -> "Transaction | None":
        """The transaction that `connection` is in; None on a connection that only reads."""
        transaction: Transaction | None = connection.info.get(_TRANSACTION)
        return transaction

    def committed(self) -> None:
        for action in self._after_commit:
            action()


class Database:
    """`url` is a SQLAlchemy URL, for example `sqlite+aiosqlite:////var/lib/jitgate/jitgate.db`."""

    def __init__(self, url: str) -> None:
        # Parameters hold hashes of passwords and tokens, which an error must not carry into the log.
        self.engine = create_async_engine(url, hide_parameters=True)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite has one writer at a time: queueing here is fair, its own busy handler is not.
        self._writer = asyncio.Lock() if self.is_sqlite else None
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that may write: committed when the block ends, rolled back when it raises.

        On SQLite it holds the write lock from its first statement (BEGIN IMMEDIATE), elsewhere rows are locked
        with FOR UPDATE by the repositories. Call nothing outside the database within it.
        """
        async with self._writer or contextlib.nullcontext(), self.engine.connect() as connection:
            await connection.execution_options(**{_WRITE: True})
            transaction = Transaction(connection)
            async with connection.begin():
                info = connection.info
                info[_TRANSACTION] = transaction
                try:
                    yield transaction
                finally:
                    del info[_TRANSACTION]  # it belongs to the pooled connection, which outlives us
        transaction.committed()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view for reading."""
        async with self.engine.connect() as connection, connection.begin():
            yield connection

    async def close(self) -> None:
        await self.engine.dispose()


def _configure_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver would otherwise begin transactions behind our back, and deferred ones at that.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""The database: connections, transactions, and column types that behave the same everywhere."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import URL, BigInteger, Connection, Dialect, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction, create_async_engine
from sqlalchemy.types import TypeDecorator
from sqlalchemy.util import await_only

from gateway.store import postgresql
from gateway.store.failures import DatabaseUnavailable, OutcomeUnknown, meaning_of, not_let_in

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
DEFAULT_CONNECTIONS = 10
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


class BadDatabaseUrl(ValueError):
    """Not the address of a database that the gateway can use. The text holds no password."""


class Database:
    """`url`: `sqlite:////var/lib/jitgate/jitgate.db`, `postgresql://jitgate:PASSWORD@HOST/jitgate`.

    At most `connections` at once (PostgreSQL; SQLite has its own rules). A `patient` one, for migrations and
    copies, waits for statements as long as they take. Raises BadDatabaseUrl.
    """

    def __init__(self, url: str, *, connections: int = DEFAULT_CONNECTIONS, patient: bool = False) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        # SQLite has one writer at a time: queueing here is fair, its own busy handler is not.
        self._writer = asyncio.Lock() if self.is_sqlite else None
        if self.is_sqlite:
            # Parameters hold hashes of passwords and tokens, which an error must not carry into the log.
            self.engine = create_async_engine(self.url, hide_parameters=True)
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self.engine.sync_engine, "invalidate", _let_go_sqlite)
        else:
            self.engine = postgresql.engine_for(self.url, connections=connections, patient=patient)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that may write: committed when the block ends, rolled back when it raises.

        On SQLite it holds the write lock from its first statement (BEGIN IMMEDIATE), elsewhere rows are locked
        with FOR UPDATE by the repositories. Call nothing outside the database within it.
        Raises DatabaseUnavailable, OutcomeUnknown, WriteConflict.
        """
        async with self._writer or contextlib.nullcontext(), self._connected() as connection:
            await connection.execution_options(**{_WRITE: True})
            transaction = Transaction(connection)
            begun = await connection.begin()
            info = connection.info
            info[_TRANSACTION] = transaction
            try:
                yield transaction
            except BaseException as failure:
                await _roll_back(begun, failure)
                raise
            else:
                await _commit(begun)
            finally:
                del info[_TRANSACTION]  # it belongs to the pooled connection, which outlives us
        transaction.committed()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view for reading: everything as it was at the first statement.

        Raises DatabaseUnavailable.
        """
        async with self._connected() as connection:
            if not self.is_sqlite:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            begun = await connection.begin()
            try:
                yield connection
            except BaseException as failure:
                await _roll_back(begun, failure)
                raise
            else:
                await begun.commit()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self.engine.connect())
            except Exception as error:
                if self.is_sqlite:
                    raise
                if meaning := meaning_of(error):
                    raise meaning from error
                if isinstance(error, DBAPIError):
                    raise not_let_in(error) from error
                raise
            yield connection

    async def close(self) -> None:
        await self.engine.dispose()


def parse_url(text: str) -> URL:
    """The address with the driver that the gateway uses. Raises BadDatabaseUrl."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadDatabaseUrl(
            "the database URL cannot be read: write postgresql://USER@HOST/NAME or sqlite:////PATH "
            "(in a password, write %40 for @, %2F for / and %3A for :)"
        ) from None
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        raise BadDatabaseUrl(
            f"{url.drivername} is no database that the gateway can use: it is postgresql or sqlite"
        )
    return url.set(drivername=driver)


async def _roll_back(begun: AsyncTransaction, failure: BaseException) -> None:
    """A cancellation stays one, whatever comes of this: workers go on after what looks like a failure."""
    try:
        await begun.rollback()
    except Exception:
        if not isinstance(failure, asyncio.CancelledError):
            raise


async def _commit(begun: AsyncTransaction) -> None:
    try:
        await begun.commit()
    except DatabaseUnavailable as error:
        raise OutcomeUnknown from error


def _configure_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver would otherwise begin transactions behind our back, and deferred ones at that.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("busy_timeout=10000", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    # Processes that make a file's log together do not wait for each other: SQLite refuses all but one at once.
    for attempt in reversed(range(100)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as refused:
            if not attempt or refused.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            await_only(asyncio.sleep(0.05))
    cursor.close()


def _let_go_sqlite(dbapi_connection: Any, _record: object, _error: object) -> None:
    """A connection is given up when a call on it is cancelled. Closing it is not enough: SQLite keeps it, with its
    write lock, for as long as a cursor of it is left in the trace of an exception."""
    with contextlib.suppress(MissingGreenlet):  # collected as garbage, when it has nothing open any more
        dbapi_connection.rollback()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

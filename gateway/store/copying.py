"""A database copied to another one, of another kind if wanted, and proven to be the same."""

import asyncio
import fcntl
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Table, and_, delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import postgresql, tables, turns
from gateway.store.database import Database
from gateway.store.migrate import MIGRATION, migrate, newest_version, version_of

_ROWS_AT_A_TIME: Final = 1000
_ROWS_BETWEEN_WORDS: Final = 100_000

Say = Callable[[str], None]


class CannotCopy(Exception):
    """Nothing was copied; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A table, how many rows it has, and a SHA-256 over all of them, the same on both sides."""

    table: str
    rows: int
    sha256: str


async def copy(source: Database, target: Database, say: Say) -> list[Copied]:
    """Everything in `source`, in one transaction of `target`, which must have no rows; all of it or nothing.

    `say` is told how far it got. Raises CannotCopy, DatabaseTooNew, DatabaseUnavailable.
    """
    if source.url == target.url:
        raise CannotCopy("source and target are the same database")
    if source.is_sqlite and not await asyncio.to_thread(_file_of(source).is_file):
        raise CannotCopy(f"there is no database {source.url.database}")
    await _require_usable(source)
    await _require_stopped(source, "source")
    await migrate(target)
    await _require_stopped(target, "target")
    if not source.is_sqlite:
        async with source.read() as original:  # one snapshot
            return await _copy_all(original, target, say)
    async with source.transaction() as unchanging:  # holds the write lock
        return await _copy_all(unchanging.connection, target, say)


async def _copy_all(original: AsyncConnection, target: Database, say: Say) -> list[Copied]:
    in_order = tables.metadata.sorted_tables  # what others point at comes first
    async with target.transaction() as tx:
        await turns.take(tx.connection, MIGRATION)
        await _require_empty(tx.connection, in_order)
        await tx.connection.execute(delete(tables.targets))
        copied = [await _copy(original, tx.connection, table, say) for table in in_order]
        await _go_on_counting(tx.connection)
        say("Comparing what the target holds now")
        for table, expected in zip(in_order, copied, strict=True):
            found = await _read(tx.connection, table)
            if found != expected:
                raise CannotCopy(
                    f"{table.name} would not be the same: {expected.rows} rows in the source, hash "
                    f"{expected.sha256[:16]}, {found.rows} rows in the target, hash {found.sha256[:16]}. "
                    "The target was left empty"
                )
    return copied


async def _require_usable(source: Database) -> None:
    async with source.read() as connection:
        version = await version_of(connection)
    if version != newest_version():
        raise CannotCopy(
            f"the source has version {version or 'none'}, this gateway has {newest_version()}. "
            "Run jitgate migrate on the source first"
        )


async def _require_stopped(database: Database, which: str) -> None:
    """A gateway that goes on writing would leave the copy behind, or fill the target."""
    if database.is_sqlite:
        is_running = _is_locked(_file_of(database).parent / "lock")
    else:
        query = text(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = :name)"
        )
        async with database.read() as connection:
            is_running = bool(await connection.scalar(query, {"name": postgresql.SERVING}))
    if is_running:
        raise CannotCopy(f"a gateway runs on the {which}. Stop all of its gateways first")


def _file_of(database: Database) -> Path:
    return Path(database.url.database or "")


def _is_locked(file: Path) -> bool:
    """Whether a gateway runs in the folder of this lock file, which is where it keeps its SQLite database."""
    if not file.exists():
        return False
    with file.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _require_empty(connection: AsyncConnection, in_order: list[Table]) -> None:
    for table in in_order:
        query = select(func.count()).select_from(table)
        if table is tables.targets:  # one is there from the start
            query = query.where(~_is_first_target())
        if rows := await connection.scalar(query):
            raise CannotCopy(f"the target is not empty: {table.name} has {rows} rows. Name an empty database")


def _is_first_target() -> ColumnElement[bool]:
    columns = tables.targets.c
    return and_(columns.account == "default", columns.region == "default", columns.changed_by == "")


async def _copy(original: AsyncConnection, target: AsyncConnection, table: Table, say: Say) -> Copied:
    digest, count = hashlib.sha256(), 0
    async for rows in _batches(original, table):
        for row in rows:
            digest.update(_canonical(row))
        try:
            await target.execute(insert(table), [dict(row._mapping) for row in rows])  # noqa: SLF001 - public API
        except DBAPIError as error:
            first, last = (tuple(row[: len(table.primary_key)]) for row in (rows[0], rows[-1]))
            code = getattr(error.orig, "sqlstate", None) or type(error).__name__
            raise CannotCopy(
                f"{table.name}: the target refuses a row from {first} to {last} ({code}); it was left empty. "
                "Correct the row in the source"
            ) from error
        count += len(rows)
        if count % _ROWS_BETWEEN_WORDS == 0:
            say(f"{table.name}: {count} rows")
    say(f"{table.name}: {count} rows copied")
    return Copied(table.name, count, digest.hexdigest())


async def _read(connection: AsyncConnection, table: Table) -> Copied:
    digest, count = hashlib.sha256(), 0
    async for rows in _batches(connection, table):
        for row in rows:
            digest.update(_canonical(row))
        count += len(rows)
    return Copied(table.name, count, digest.hexdigest())


async def _batches(connection: AsyncConnection, table: Table) -> AsyncIterator[list[Row[Any]]]:
    """All rows by primary key, which both kinds of database order by bytes; the key's columns come first."""
    others = [column for column in table.c if not column.primary_key]
    query: Select[Any] = select(*table.primary_key, *others).order_by(*table.primary_key)
    async with connection.stream(query, execution_options={"yield_per": _ROWS_AT_A_TIME}) as result:
        async for rows in result.partitions():
            yield list(rows)


def _canonical(row: Row[Any]) -> bytes:
    return json.dumps(list(row), default=_plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _plain(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
    raise TypeError(f"no column holds a {type(value).__name__}")


async def _go_on_counting(connection: AsyncConnection) -> None:
    """Numbers that the database gives go on behind those that were copied; SQLite sees to that by itself."""
    if connection.dialect.name != "postgresql":
        return
    number = tables.events.c.sequence
    next_one = select(func.coalesce(func.max(number), 0) + 1).scalar_subquery()
    sequence = func.pg_get_serial_sequence(tables.events.name, number.name)
    await connection.execute(select(func.setval(sequence, next_one, False)))

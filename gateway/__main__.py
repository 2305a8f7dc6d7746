"""`jitgate`: the server's own command line, for the operator on its host."""

import gc

# What is loaded here stays: looking for garbage in it takes half a second of a start, and the fifth of one later.
gc.disable()

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

# gRPC reads these when it is imported: it must not log to standard error in a form of its own, nor follow a fork.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Its other poller hands what arrives through two more threads: a tenth of the time from a key to its echo.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import typer
import uvloop

from gateway import config, logs, memory, serve
from gateway.identity.administrator_codes import new_administrator_code
from gateway.identity.key_files import KeyFileUnusable
from gateway.store.copying import CannotCopy, Copied, copy
from gateway.store.database import BadDatabaseUrl, Database
from gateway.store.failures import DatabaseUnavailable
from gateway.store.migrate import DatabaseTooNew, migrate, newest_version
from gateway.version import VERSION
from recorder.errors import KeyRefused, UnfitStore

gc.freeze()
gc.enable()

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Jitgate's server: just-in-time access to nodes, decided by policy, recorded.",
)

_TOLD = (
    BadDatabaseUrl,
    CannotCopy,
    DatabaseTooNew,
    KeyFileUnusable,
    KeyRefused,
    OSError,
    UnfitStore,
    config.BadConfiguration,
    serve.CannotStart,
)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="JITGATE_CONFIG", help="A jitgate.toml; JITGATE_* variables override what it says."
    ),
]


@app.command(name="serve")
def serve_command(config_file: ConfigFile = None) -> None:
    """Serves until it is told to stop (SIGTERM, SIGINT)."""
    settings = _load(config_file)
    logs.configure(settings.log_level)
    memory.keep_freed_blocks()
    with _failures_told("cannot start: "):
        uvloop.run(serve.run(settings))


@app.command(name="admin-code")
def admin_code(config_file: ConfigFile = None) -> None:
    """Prints a new administrator code: one hour, one use. For the host's operator when nobody else gets in."""
    settings = _load(config_file)

    async def issue() -> str:
        async with _opened(settings.database) as database:
            await migrate(database)
            return await new_administrator_code(database, lambda: datetime.now(UTC))

    with _failures_told():
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        print(asyncio.run(issue()))


@app.command(name="migrate")
def migrate_command(config_file: ConfigFile = None) -> None:
    """Brings the database to this version's tables. Serving does it, too; this is for doing it before."""
    settings = _load(config_file)

    async def run() -> None:
        async with _opened(settings.database) as database:
            await migrate(database)

    with _failures_told():
        if settings.database_url is None:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.run(run())
    print(f"The database is at version {newest_version()}.")


@app.command(name="copy-database")
def copy_database(
    source: Annotated[
        str, typer.Option("--from", help="What to copy: sqlite:////PATH, postgresql://USER@HOST/NAME")
    ],
    target: Annotated[
        str, typer.Option("--to", help="An empty database; the configured one unless named.", show_default=False)
    ] = "",
    config_file: ConfigFile = None,
) -> None:
    """Copies a database to another one and proves that both are the same. Stop the gateways first.

    Leave passwords to a password file (~/.pgpass): every process of the host can read a command line.
    """
    target = target or _load(config_file).database

    async def run() -> list[Copied]:
        async with _opened(source) as original, _opened(target) as new:
            return await copy(original, new, say=lambda words: print(words, flush=True))

    with _failures_told():
        copied = asyncio.run(run())
    print()
    for table in copied:
        print(f"{table.table:28} {table.rows:>9} rows  sha256 {table.sha256[:16]}")
    print(f"Copied {sum(table.rows for table in copied)} rows. Counts and hashes are the same on both sides.")


@app.command(name="check-config")
def check_config(config_file: ConfigFile = None) -> None:
    """Reads the configuration and says what it comes to."""
    print(_load(config_file).model_dump_json(indent=2))


@app.command()
def version() -> None:
    """Prints the version."""
    print(VERSION)


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, connections=2, patient=True)
    try:
        yield database
    finally:
        await database.close()


@contextlib.contextmanager
def _failures_told(prefix: str = "") -> Iterator[None]:
    """What the operator can do something about ends the program with words, and not with a stack of calls."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise SystemExit(f"jitgate: {prefix}{error}. {error.what_to_do}") from None
    except _TOLD as error:
        raise SystemExit(f"jitgate: {prefix}{error}") from None


def _load(file: Path | None) -> config.Configuration:
    try:
        return config.load(file)
    except config.BadConfiguration as error:
        raise SystemExit(f"jitgate: bad configuration: {error}") from None


def main() -> None:
    os.umask(0o077)  # the database holds hashes of passwords and tokens, and data_dir may be open to others
    app()


if __name__ == "__main__":
    main()

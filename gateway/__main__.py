"""`jitgate`: the server's own command line, for the operator on its host."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

# gRPC reads both when it is imported: it must not log to standard error in a form of its own, nor follow a fork.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import typer
import uvloop

from gateway import config, logs, serve
from gateway.identity.administrator_codes import new_administrator_code
from gateway.identity.key_files import KeyFileUnusable
from gateway.store.database import Database
from gateway.store.migrate import DatabaseTooNew, migrate
from gateway.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Jitgate's server: just-in-time access to nodes, decided by policy, recorded.",
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
    try:
        uvloop.run(serve.run(settings))
    except (KeyFileUnusable, DatabaseTooNew, serve.CannotStart, OSError) as error:
        raise SystemExit(f"jitgate: cannot start: {error}") from None


@app.command(name="admin-code")
def admin_code(config_file: ConfigFile = None) -> None:
    """Prints a new administrator code: one hour, one use. For the host's operator when nobody else gets in."""
    settings = _load(config_file)

    async def issue() -> str:
        database = Database(settings.database)
        try:
            await migrate(database)
            return await new_administrator_code(database, lambda: datetime.now(UTC))
        finally:
            await database.close()

    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        print(asyncio.run(issue()))
    except (DatabaseTooNew, OSError) as error:
        raise SystemExit(f"jitgate: {error}") from None


@app.command(name="check-config")
def check_config(config_file: ConfigFile = None) -> None:
    """Reads the configuration and says what it comes to."""
    print(_load(config_file).model_dump_json(indent=2))


@app.command()
def version() -> None:
    """Prints the version."""
    print(VERSION)


def _load(file: Path | None) -> config.Configuration:
    try:
        return config.load(file)
    except config.BadConfiguration as error:
        raise SystemExit(f"jitgate: bad configuration: {error}") from None


def main() -> None:
    app()


if __name__ == "__main__":
    main()

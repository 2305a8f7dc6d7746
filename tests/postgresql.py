"""A PostgreSQL server of our own: a new data folder, a Unix socket, nothing of the system's touched."""

import asyncio
import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from gateway.store import tables
from gateway.store.database import Database
from gateway.store.migrate import migrate
from tests.processes import signal_all, wait_for

_INSTALLED = Path("/usr/lib/postgresql")
# What the first migration writes (R4).
_DEFAULT_TARGET = "INSERT INTO targets VALUES ('default', 'default', '', true, 0, '')"
_TEMPLATE = "jitgate_template"
# The language is one that orders text unlike SQLite.
_INITDB = ["--auth=trust", "--username=jitgate", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
_LANGUAGE = ["--locale-provider=icu", "--icu-locale=en-US"]
# Speed instead of safety: this data does not outlive the tests.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "listen_addresses": "",
    "autovacuum": "off",
    "superuser_reserved_connections": "2",
}


def binaries() -> Path | None:
    """The newest server that is installed; None: there is none."""
    found = sorted(_INSTALLED.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresqlServer:
    """One server. `max_connections` includes two for the superuser, which is whom everybody here connects as."""

    def __init__(self, *, max_connections: int = 200) -> None:
        found = binaries()
        assert found is not None, "PostgreSQL is not installed: tests/debian-packages.sh"
        self._binaries = found
        self.folder = Path(tempfile.mkdtemp(prefix="jitgate-pg-", dir="/tmp"))  # a socket's path must be short
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._settings = {**_SETTINGS, "max_connections": str(max_connections)}
        self._made = 0
        self._clean: list[str] = []
        self._run("initdb", *_INITDB, *_LANGUAGE, "--pgdata", str(self.data))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return int((self.data / "postmaster.pid").read_text().partition("\n")[0])

    def url(self, database: str = "postgres", user: str = "jitgate") -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def start(self) -> None:
        options = " ".join(f"-c {key}='{value}'" for key, value in self._settings.items())
        options += f" -c unix_socket_directories='{self.folder}'"
        self._run("pg_ctl", "start", "-w", "-s", "-D", str(self.data), "-l", str(self.log), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        with suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", str(self.data))

    def restart(self) -> None:
        """As an administrator does it: whoever is connected is thrown out."""
        self._run("pg_ctl", "restart", "-w", "-s", "-m", "fast", "-D", str(self.data), "-l", str(self.log))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Not one of its processes runs, but its sockets stay open."""
        postmaster = self.pid
        stopped = [postmaster]
        try:
            signal_all(stopped, signal.SIGSTOP)
            wait_for(lambda: _state(postmaster) == "T", what="the postmaster's stop")
            stopped += _children(postmaster)  # which makes no more now
            signal_all(stopped, signal.SIGSTOP)
            yield
        finally:
            signal_all(reversed(stopped), signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection[Any]":
        return await asyncpg.connect(host=str(self.folder), user="jitgate", database=database)

    async def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        connection = await self.connect(database)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    async def make_template(self) -> None:
        """The tables as the migrations make them, for `new_database` to copy from."""
        await self.sql(f"CREATE DATABASE {_TEMPLATE}")
        database = Database(self.url(_TEMPLATE))
        await migrate(database)
        await database.close()

    async def new_database(self, *, empty: bool = False) -> str:
        """Its name; with the gateway's tables, or without any."""
        if self._clean and not empty:
            return self._clean.pop()
        self._made += 1
        name = f"jitgate_{self._made}"
        template = "template1" if empty else _TEMPLATE
        await self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    async def give_back(self, name: str) -> None:
        """Empties a database for the next test: ten times as fast as to make a new one."""
        connection = await self.connect(name)
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        )
        await connection.execute(others, name)
        emptied = "".join(f"DELETE FROM {table.name};" for table in reversed(tables.metadata.sorted_tables))
        await connection.execute(
            f"BEGIN; {emptied} ALTER SEQUENCE events_sequence_seq RESTART; {_DEFAULT_TARGET}; COMMIT"
        )
        await connection.close()
        self._clean.append(name)

    async def drop(self, name: str) -> None:
        await self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        # To a file: a server that inherits a pipe would keep it open.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [self._binaries / program, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
            )
            if done.returncode:
                said.seek(0)
                log = self.log.read_text()[-2000:] if self.log.exists() else ""
                raise AssertionError(f"{program} ended with {done.returncode}: {said.read().decode()}{log}")


@contextmanager
def running_postgresql(*, max_connections: int = 200, template: bool = True) -> Iterator[PostgresqlServer]:
    """A server for as long as the block runs."""
    server = PostgresqlServer(max_connections=max_connections)
    atexit.register(server.remove)  # for a run that is cut short
    try:
        server.start()
        wait_for((server.data / "postmaster.pid").exists, what="PostgreSQL")
        if template:
            asyncio.run(server.make_template())
        yield server
    finally:
        server.remove()
        atexit.unregister(server.remove)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: it refuses root. None: ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("no unprivileged user to run PostgreSQL as")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

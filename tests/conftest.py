"""Hooks for every test, and both databases, so that whatever is stored is tested on each."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

# Its plugin would import it after the last test, and rewrite it while the garbage of tests is collected, at which
# CPython 3.11 can fail (gh-106905).
import hypothesis
import pytest
from sqlalchemy import Engine

from gateway.store.database import Database
from gateway.store.migrate import migrate
from tests.aws.servers import ENVIRONMENT, Rclone, running_moto, running_rclone
from tests.postgresql import PostgresqlServer, binaries, running_postgresql

# How long an example takes, or takes to be made up, tells how busy the machine is; one of 200 ms would fail.
hypothesis.settings.register_profile(
    "jitgate", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("jitgate")

# A run in a shell's background is deaf to some signals, and so would be all that the tests start and send them to.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under CI a part that cannot run is a failure, not a skip."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_exception_interact() -> None:
    """A failed test has two minutes to put its things away; pytest and its timeouts no longer watch it."""

    def end(number: int, frame: object) -> None:
        pytest.fail("what a failed test had begun did not end")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(120)


def pytest_runtest_logfinish() -> None:
    signal.alarm(0)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Statements are compiled once a run and not once a test: a fifth of the time of those that use a database."""
    begin, kin = Database.__init__, dict[str, Engine]()

    def share(database: Database, *arguments: Any, **options: Any) -> None:
        begin(database, *arguments, **options)
        engine = database.engine.sync_engine
        known = kin.setdefault(engine.dialect.name, engine)
        if known.dialect.server_version_info is None:  # it never got through to a server
            kin[engine.dialect.name] = engine
        else:
            engine.dialect, engine._compiled_cache = known.dialect, known._compiled_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "__init__", share)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for the whole run."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: tests/debian-packages.sh")
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file as the migrations leave it, to copy from."""
    file = tmp_path_factory.mktemp("migrated") / "jitgate.db"

    async def make() -> None:
        database = Database(f"sqlite:///{file}")
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_server(request: pytest.FixtureRequest) -> PostgresqlServer | None:
    """None: SQLite, which needs none."""
    if request.param == "sqlite":
        return None
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server


@pytest.fixture
async def database_url(
    database_server: PostgresqlServer | None, migrated: Path, tmp_path: Path
) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    if database_server is None:
        file = tmp_path / "jitgate.db"
        shutil.copy(migrated, file)
        yield f"sqlite:///{file}"
        return
    name = await database_server.new_database()
    yield database_server.url(name)
    await database_server.give_back(name)


@pytest.fixture
async def empty_url(database_server: PostgresqlServer | None, tmp_path: Path) -> AsyncIterator[str]:
    """A database without tables."""
    if database_server is None:
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    name = await database_server.new_database(empty=True)
    yield database_server.url(name)
    await database_server.drop(name)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of a moto server for the whole run."""
    with running_moto() as address:
        yield address


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    """An S3 server for the whole run that checks signatures and keeps its objects on disk."""
    with running_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the servers of the tests, found as AWS's libraries find any."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

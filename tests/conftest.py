"""Options and hooks for every test."""

import os
from collections.abc import Iterator

import pytest

from tests.postgresql import PostgresqlServer, binaries, running_postgresql


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under CI a part that cannot run is a failure, not a skip."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for the whole run."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: tests/debian-packages.sh")
    with running_postgresql() as server:
        yield server

"""A PostgreSQL that restarts, stands still, or takes no more connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from gateway.store import postgresql as postgres
from gateway.store import targets
from gateway.store.database import BadDatabaseUrl, Database, parse_url
from gateway.store.failures import DatabaseUnavailable, OutcomeUnknown, WriteConflict
from tests.postgresql import PostgresqlServer, binaries, running_postgresql

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: tests/debian-packages.sh")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One that may be maltreated, with room for eight ordinary connections."""
    with running_postgresql(max_connections=10) as running:
        asyncio.run(running.sql("CREATE ROLE gateway LOGIN"))
        asyncio.run(running.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO gateway", "jitgate_template"))
        yield running


@pytest.fixture
async def database(server: PostgresqlServer) -> AsyncIterator[Database]:
    opened = Database(server.url("jitgate_template", "gateway"), connections=3)
    yield opened
    await opened.close()


async def answers(database: Database) -> bool:
    async with database.read() as connection:
        return bool(await connection.scalar(text("SELECT 1")))


async def unavailable(work: Any) -> DatabaseUnavailable:
    with pytest.raises(DatabaseUnavailable) as caught:
        await work
    return caught.value


async def test_after_a_restart_the_first_call_succeeds(database: Database, server: PostgresqlServer) -> None:
    await asyncio.gather(*(answers(database) for _ in range(3)))  # three connections that will be dead
    await asyncio.to_thread(server.restart)
    assert await asyncio.gather(*(answers(database) for _ in range(3))) == [True] * 3


async def test_a_restart_in_the_middle_of_a_transaction(database: Database, server: PostgresqlServer) -> None:
    async def change() -> None:
        async with database.transaction() as tx:
            await tx.connection.execute(text("UPDATE targets SET changed_by = 'lost'"))
            await asyncio.to_thread(server.restart)
            await tx.connection.execute(text("UPDATE targets SET changed_by = 'lost again'"))

    told = await unavailable(change())
    assert not isinstance(told, OutcomeUnknown)
    async with database.read() as connection:
        assert {target.changed_by for target in await targets.all_targets(connection)} == {""}


async def test_lost_at_the_commit_the_outcome_is_unknown(database: Database, server: PostgresqlServer) -> None:
    async def change() -> None:
        async with database.transaction() as tx:
            await tx.connection.execute(text("UPDATE targets SET changed_by = changed_by"))
            await asyncio.to_thread(server.restart)

    told = await unavailable(change())
    assert isinstance(told, OutcomeUnknown)
    assert "Look whether it was made" in told.what_to_do
    assert await answers(database)


async def test_a_stopped_server_is_told_and_found_again(database: Database, server: PostgresqlServer) -> None:
    assert await answers(database)
    await asyncio.to_thread(server.stop)
    try:
        await unavailable(answers(database))  # on a connection that was there, whose last word may still be read
        told = await unavailable(answers(database))
        assert "cannot be reached" in str(told)
        assert "jit doctor" in told.what_to_do
    finally:
        await asyncio.to_thread(server.start)
    assert await answers(database)


async def test_a_server_that_stands_still_keeps_nobody_waiting_for_long(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 1.0)
    database = Database(server.url("jitgate_template", "gateway"), connections=2)
    assert await answers(database)
    with server.paused():
        started = time.monotonic()
        for _ in range(2):  # on a connection that was there, and on a new one
            assert "does not answer in time" in str(await unavailable(answers(database)))
        assert time.monotonic() - started < 10
    assert await answers(database)
    await database.close()


async def test_whoever_gives_up_on_a_still_server_gets_away(database: Database, server: PostgresqlServer) -> None:
    """The watch over sessions does: it looks for five seconds, and has others to look after."""
    assert await answers(database)
    with server.paused():
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await answers(database)
        assert time.monotonic() - started < 10
    assert await answers(database)


async def test_out_of_connections(server: PostgresqlServer) -> None:
    """Of the server: it says so, and what to do; and it is over when others go."""
    greedy = [Database(server.url("postgres", "gateway"), connections=8) for _ in range(2)]
    tried = await until_one_is_refused(*(greedy[n % 2] for n in range(16)))
    refused = [result for result in tried if isinstance(result, BaseException)]
    assert refused
    assert all(isinstance(told, DatabaseUnavailable) for told in refused), refused
    assert {"the database takes no more connections"} == {str(told) for told in refused}
    assert "max_connections" in refused[0].what_to_do  # type: ignore[attr-defined]  # asserted above
    for database in greedy:
        await database.close()
    assert await hold(greedy[0], 0)
    await greedy[0].close()


async def test_out_of_our_own_connections(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    tried = await until_one_is_refused(*[database] * 4)
    (told,) = [result for result in tried if isinstance(result, BaseException)]
    assert isinstance(told, DatabaseUnavailable)
    assert "database_connections" in told.what_to_do
    assert await answers(database)


async def until_one_is_refused(*databases: Database) -> list[bool | BaseException]:
    """All read at once, and those that may stay until one may not; what became of each."""
    is_refused = asyncio.Event()

    async def stay(database: Database) -> bool:
        try:
            async with database.read() as connection:
                await connection.execute(text("SELECT 1"))
                await is_refused.wait()
        finally:
            is_refused.set()
        return True

    async with asyncio.timeout(60):
        return await asyncio.gather(*map(stay, databases), return_exceptions=True)


async def hold(database: Database, seconds: float) -> bool:
    async with database.read() as connection:
        await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    return True


async def test_a_statement_that_takes_too_long_is_ended(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 1)
    database = Database(server.url("jitgate_template", "gateway"))
    assert "takes too long" in str(await unavailable(hold(database, 20)))
    assert await answers(database)
    await database.close()


async def test_who_waits_in_a_circle_is_told_to_try_again(database: Database) -> None:
    ready = [asyncio.Event(), asyncio.Event()]

    async def lock(mine: int) -> None:
        async with database.transaction() as tx:
            for number in (mine, 1 - mine):
                await tx.connection.execute(text(f"SELECT pg_advisory_xact_lock({number})"))
                ready[mine].set()
                await ready[1 - mine].wait()

    outcomes = await asyncio.gather(lock(0), lock(1), return_exceptions=True)
    (refused,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(refused, WriteConflict)


@pytest.mark.parametrize(
    ("database", "user", "more", "told"),
    [
        ("nonesuch", "gateway", "", "no database of that name"),
        ("jitgate_template", "nobody-there", "", "admits no such user"),
        ("jitgate_template", "gateway", "&nonsense=1", r"refuses the connection \(42704\)"),
        ("jitgate_template", "gateway", "&sslmode=nonsense", "refuses the connection"),
    ],
)
async def test_who_is_not_let_in_is_told_where_to_look(
    server: PostgresqlServer, database: str, user: str, more: str, told: str
) -> None:
    opened = Database(server.url(database, user) + more)
    with pytest.raises(DatabaseUnavailable, match=told) as caught:
        await answers(opened)
    assert "database_url" in caught.value.what_to_do
    await opened.close()


@pytest.mark.parametrize(
    "url", ["", "x", "mysql://u:hush@h/d", "postgresql://u:hu/sh@h:x/d", "oracle+x://u:hush@h"]
)
def test_a_url_that_leads_nowhere_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as caught:
        parse_url(url)
    assert "hush" not in str(caught.value)
    assert "hu/sh" not in str(caught.value)


def test_short_urls_name_their_driver() -> None:
    assert parse_url("postgres://u@h/d").drivername == "postgresql+asyncpg"
    assert parse_url("sqlite:////x").drivername == "sqlite+aiosqlite"

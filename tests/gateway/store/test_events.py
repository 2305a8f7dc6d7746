from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select

from gateway.store import events, tables
from gateway.store.database import Database
from gateway.store.events import Event, Filter
from gateway.store.scopes import within

NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def fill(database: Database) -> None:
    places = [("", ""), ("a", "eu"), ("a", "us"), ("b", "eu"), ("a", "eu")]
    new = [
        Event(f"thing.{number}", NOW + timedelta(hours=number), f"s{number % 2}", "x", account=a, region=r)
        for number, (a, r) in enumerate(places)
    ]
    async with database.transaction() as tx:
        await events.append(tx.connection, *new)


async def found(
    database: Database,
    scopes: set[tuple[str, str]],
    wanted: Filter | None = None,
    limit: int = 100,
    older_than: int | None = None,
) -> list[int]:
    async with database.read() as connection:
        rows = await events.page(connection, scopes, wanted or Filter(), limit, older_than)
    return [sequence for sequence, _ in rows]


@pytest.mark.rule("R29")
async def test_events_are_read_newest_first_in_pages(database: Database) -> None:
    await fill(database)
    everywhere = {("*", "*")}
    assert await found(database, everywhere) == [5, 4, 3, 2, 1]
    assert await found(database, everywhere, limit=2) == [5, 4]
    assert await found(database, everywhere, limit=2, older_than=4) == [3, 2]


@pytest.mark.rule("R32")
async def test_a_reader_sees_the_own_scopes_only(database: Database) -> None:
    await fill(database)
    assert await found(database, {("a", "eu")}) == [5, 2]
    assert await found(database, {("a", "*")}) == [5, 3, 2]
    assert await found(database, {("*", "eu")}) == [5, 4, 2]
    assert await found(database, {("b", "eu"), ("a", "us")}) == [4, 3]
    assert await found(database, set()) == []


async def test_filters_narrow(database: Database) -> None:
    await fill(database)
    everywhere = {("*", "*")}
    assert await found(database, everywhere, Filter(type_prefix="thing.4")) == [5]
    assert await found(database, everywhere, Filter(type_prefix="thing")) == [5, 4, 3, 2, 1]
    assert await found(database, everywhere, Filter(type_prefix="%4")) == []
    assert await found(database, everywhere, Filter(subject="s1")) == [4, 2]
    after, before = NOW + timedelta(hours=1), NOW + timedelta(hours=3)
    assert await found(database, everywhere, Filter(after=after, before=before)) == [3, 2]


async def test_what_is_read_is_what_was_written(database: Database) -> None:
    event = Event("a.b", NOW, "s", "sum", "alice", "192.0.2.1", "a", "eu", {"deep": [1, {"x": None}]})
    async with database.transaction() as tx:
        await events.append(tx.connection, event)
    async with database.read() as connection:
        assert await events.page(connection, [("a", "eu")], Filter(), 1) == [(1, event)]


_PLACES = [(account, region) for account in ("", "a", "b") for region in ("", "eu", "us")]
_SCOPES = [(account, region) for account in ("*", "a", "b") for region in ("*", "eu", "us")]


@given(st.sets(st.sampled_from(_SCOPES)))
def test_the_condition_says_what_the_scopes_say(scopes: set[tuple[str, str]]) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        tables.targets.create(connection)
        row = {"organizational_unit": "", "enabled": True, "changed_at": NOW, "changed_by": ""}
        connection.execute(insert(tables.targets), [{"account": a, "region": r, **row} for a, r in _PLACES])
        rows = connection.execute(select(tables.targets).where(within(tables.targets, scopes))).all()
    engine.dispose()
    expected = {
        (account, region)
        for account, region in _PLACES
        if any(a in ("*", account) and r in ("*", region) for a, r in scopes)
    }
    assert {(found.account, found.region) for found in rows} == expected

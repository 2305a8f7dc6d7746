"""A database copied from one kind to the other, and everything that must stop it."""

import fcntl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from gateway.store import copying, events, tables
from gateway.store.copying import CannotCopy, Copied, copy
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.migrate import newest_version
from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, START, World, manual
from tests.postgresql import PostgresqlServer


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A database with history: requests, approvals, tokens, policies and two thousand events."""
    built = World(tmp_path, database_url)
    await built.build()
    await built.put(PolicyKind.AUTO, AUTO)
    await built.put(PolicyKind.MANUAL, manual())
    request = await built.approved()
    await built.tokens.issue(await built.caller("alice"), request.life.id)
    await built.ask("alice", "web-1", reason="ünïcödé 🔐")
    async with built.database.transaction() as tx:
        await events.append(
            tx.connection, *(Event("bulk.one", START + timedelta(seconds=n), "b", "") for n in range(2000))
        )
    await built.database.close()
    yield built
    await built.database.close()


@pytest.fixture
async def target_url(
    database_server: PostgresqlServer | None, postgresql: PostgresqlServer, tmp_path: Path
) -> AsyncIterator[str]:
    """An empty database of the other kind."""
    if database_server is not None:
        yield f"sqlite:///{tmp_path}/target.db"
        return
    name = await postgresql.new_database(empty=True)
    yield postgresql.url(name)
    await postgresql.drop(name)


async def copied(source: str, target: str) -> tuple[list[Copied], list[str]]:
    """What was copied, and what was said meanwhile."""
    said: list[str] = []
    original, new = Database(source, connections=2, patient=True), Database(target, connections=2, patient=True)
    try:
        return await copy(original, new, said.append), said
    finally:
        await original.close()
        await new.close()


async def rows(url: str) -> dict[str, list[object]]:
    database = Database(url, patient=True)
    async with database.read() as connection:
        found: dict[str, list[object]] = {
            table.name: [
                tuple(row) for row in await connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in tables.metadata.sorted_tables
        }
    await database.close()
    return found


async def test_everything_arrives_and_life_goes_on_there(world: World, target_url: str, tmp_path: Path) -> None:
    before = await rows(world.url)
    done, said = await copied(world.url, target_url)
    assert await rows(target_url) == before == await rows(world.url)
    assert {table.table: table.rows for table in done} == {name: len(found) for name, found in before.items()}
    assert any(words == f"events: {len(before['events'])} rows copied" for words in said)
    moved = World(tmp_path, target_url)
    moved.clock.now = world.clock.now
    request = await moved.ask("alice", "db-1", reason="after the move")
    assert len(await moved.events(request.life.id)) == 1
    await moved.database.close()


async def test_a_target_with_rows_is_refused_and_left_alone(world: World, target_url: str) -> None:
    await copied(world.url, target_url)
    before = await rows(target_url)
    with pytest.raises(CannotCopy, match=r"not empty: \w+ has \d+ rows"):
        await copied(world.url, target_url)
    assert await rows(target_url) == before


async def test_a_copy_that_differs_is_undone_and_can_be_repeated(
    world: World, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = copying._go_on_counting

    async def with_a_slip(connection: object) -> None:
        await go_on(connection)  # type: ignore[arg-type]  # handed through
        await connection.execute(update(tables.users).where(tables.users.c.id == "bob").values(display_name="B"))  # type: ignore[attr-defined]  # a connection

    monkeypatch.setattr(copying, "_go_on_counting", with_a_slip)
    with pytest.raises(CannotCopy, match=r"users would not be the same: 9 rows .* 9 rows"):
        await copied(world.url, target_url)
    assert all(len(found) == (name == "targets") for name, found in (await rows(target_url)).items())
    monkeypatch.undo()
    await copied(world.url, target_url)
    assert await rows(target_url) == await rows(world.url)


async def test_a_row_that_the_target_cannot_hold_is_named(
    database_server: PostgresqlServer | None, world: World, target_url: str
) -> None:
    if database_server is not None:
        return  # SQLite holds anything
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.nodes, "i-0000000000000000a", name="n" * 200)
    with pytest.raises(
        CannotCopy, match=r"nodes: the target refuses a row from \('i-0000000000000000a',\).*22001"
    ):
        await copied(world.url, target_url)
    assert not (await rows(target_url))["users"]


@pytest.mark.parametrize(("version", "told"), [("0001", "0001"), (None, "none")])
async def test_a_source_of_another_version_is_refused(
    world: World, target_url: str, version: str | None, told: str
) -> None:
    async def set_version(version: str | None) -> None:
        async with world.database.transaction() as tx:
            await tx.connection.execute(text("DELETE FROM alembic_version"))
            if version:
                insert = text("INSERT INTO alembic_version VALUES (:version)")
                await tx.connection.execute(insert, {"version": version})
        await world.database.close()

    await set_version(version)
    try:
        with pytest.raises(CannotCopy, match=rf"the source has version {told},.*Run jitgate migrate"):
            await copied(world.url, target_url)
    finally:
        await set_version(newest_version())


async def test_nothing_is_copied_while_a_gateway_runs(
    database_server: PostgresqlServer | None, world: World, target_url: str
) -> None:
    if database_server is None:
        with (Path(world.database.url.database or "").parent / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(CannotCopy, match="a gateway runs on the source"):
                await copied(world.url, target_url)
        return
    async with world.database.read():
        with pytest.raises(CannotCopy, match="a gateway runs on the source"):
            await copied(world.url, target_url)


async def test_a_database_is_not_copied_to_itself(world: World) -> None:
    with pytest.raises(CannotCopy, match="the same database"):
        await copied(world.url, world.url)


async def test_a_source_that_is_not_there_is_not_made(tmp_path: Path, world: World) -> None:
    with pytest.raises(CannotCopy, match="there is no database"):
        await copied(f"sqlite:///{tmp_path}/nix.db", world.url)
    assert not (tmp_path / "nix.db").exists()

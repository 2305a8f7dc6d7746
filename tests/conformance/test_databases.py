"""What the repositories rely on, whatever database is under them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from gateway.identity.model import LOCAL_ISSUER, User
from gateway.nodes.model import Node, SshEndpoint
from gateway.store import directory, events, nodes, policies, sign_ins, tables, targets, upsert
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from gateway.store.sign_ins import Failures
from gateway.store.targets import Target

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
# In the order of their bytes; a language would sort most of these differently.
NAMES = ["10", "9", "A-z", "B", "Z.1", "_a", "a", "a-b", "a.b", "a_b", "ab", "b", "z"]


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[list[Database]]:
    """Three processes on one database."""
    opened = [Database(database_url) for _ in range(3)]
    yield opened
    for database in opened:
        await database.close()


@pytest.fixture
def database(databases: list[Database]) -> Database:
    return databases[0]


def a_node(name: str, number: int = 0, **more: Any) -> Node:
    endpoint = SshEndpoint("192.0.2.1", host_keys=("ssh-ed25519 AAAA",))
    values = {"account": "default", "region": "default", "connector": "ssh", "created_at": NOW, **more}
    return Node(id=f"i-{number:017x}", name=name, endpoint=endpoint, **values)


async def test_text_is_ordered_by_its_bytes_and_paged_without_gap_or_repetition(database: Database) -> None:
    async with database.transaction() as tx:
        for number, name in enumerate(reversed(NAMES)):
            await nodes.add(tx.connection, a_node(name, number))
    seen: list[str] = []
    after: tuple[str, str] | None = None
    async with database.read() as connection:
        while True:
            page = []
            async for node in nodes.stream(connection, after=after):
                page.append(node)
                if len(page) == 4:
                    break
            if not page:
                break
            seen += [node.name for node in page]
            after = (page[-1].name, page[-1].id)
    assert seen == NAMES == sorted(NAMES)


async def test_people_are_ordered_by_their_ids(database: Database) -> None:
    ids = sorted(["al", "a.l", "a-l", "a_l", "a@l", "0a", "b"])
    async with database.transaction() as tx:
        for user_id in ids:
            await directory.add(tx.connection, User(user_id, LOCAL_ISSUER, user_id, "", frozenset(), {}, NOW, NOW))
    async with database.read() as connection:
        first = await directory.page(connection, NOW, limit=3)
        rest = await directory.page(connection, NOW, after=first[-1].id)
    assert [user.id for user in first + rest] == ids


async def test_values_come_back_as_they_were(database: Database) -> None:
    tags = {"ключ": "значение", "": "", "emoji": "🔐", "quote": "'\"\\", "deep": "\u2028"}
    node = a_node("n", tags=tags, properties={"kernel": "6.1"}, last_seen_at=NOW + timedelta(microseconds=1))
    details = {"n": None, "list": [1, 2.5, True], "text": "\u0000\n", "big": 2**60}
    event = Event("a.b", NOW, "s", "said", details=details)
    async with database.transaction() as tx:
        await nodes.add(tx.connection, node)
        await events.append(tx.connection, event)
    async with database.read() as connection:
        assert await nodes.get(connection, node.id) == node
        ((_, found),) = await events.page(connection, [("*", "*")], events.Filter(), 1)
    assert found == event


async def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="without a zone"):
        async with database.transaction() as tx:
            await sign_ins.add_code(tx.connection, "h", datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


async def test_a_live_name_is_taken_once_and_free_again(database: Database) -> None:
    async with database.transaction() as tx:
        await nodes.add(tx.connection, a_node("web", 1))
    with pytest.raises(IntegrityError):
        async with database.transaction() as tx:
            await nodes.add(tx.connection, a_node("web", 2))
    async with database.transaction() as tx:
        await nodes.replace(tx.connection, a_node("web", 1, removed_at=NOW))
        await nodes.add(tx.connection, a_node("web", 2))


async def test_what_points_nowhere_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as tx:
            await directory.join(tx.connection, "nobody", {"sre"})


async def test_what_fails_leaves_nothing_and_tells_nobody(database: Database) -> None:
    told: list[str] = []
    with pytest.raises(LookupError):  # noqa: PT012 - the block is what must not be committed
        async with database.transaction() as tx:
            await nodes.add(tx.connection, a_node("web"))
            tx.after_commit(lambda: told.append("committed"))
            raise LookupError
    async with database.transaction() as tx:
        assert await nodes.get(tx.connection, a_node("web").id) is None
        tx.after_commit(lambda: told.append("second"))
    assert told == ["second"]


async def test_a_reader_sees_one_moment(databases: list[Database]) -> None:
    reader, writer, _ = databases
    async with reader.read() as connection:
        assert len(await targets.all_targets(connection)) == 1
        async with writer.transaction() as tx:
            await targets.put(tx.connection, Target("b", "b", "", True, NOW, "x"))
        assert len(await targets.all_targets(connection)) == 1
    async with reader.read() as connection:
        assert len(await targets.all_targets(connection)) == 2


async def test_a_reader_cannot_write_on_postgresql(database: Database) -> None:
    if database.is_sqlite:
        return
    with pytest.raises(Exception, match=r"standby|read-only"):
        async with database.read() as connection:
            await connection.execute(insert(tables.administrator_codes).values(hash="h", expires_at=NOW))


async def test_a_reader_knows_of_no_transaction(database: Database) -> None:
    async with database.transaction() as tx:
        assert Transaction.of(tx.connection) is tx
    async with database.read() as connection:
        assert Transaction.of(connection) is None


async def test_a_locked_row_waits_and_is_seen_as_it_is_then(databases: list[Database]) -> None:
    """Fifty increments by three processes; without the lock some would be lost."""

    async def one_more(database: Database) -> None:
        async with database.transaction() as tx:
            target = await targets.get(tx.connection, "default", "default", for_update=True)
            assert target is not None
            count = int(target.organizational_unit or 0) + 1
            row = update(tables.targets).where(tables.targets.c.account == "default")
            await tx.connection.execute(row.values(organizational_unit=str(count)))

    await asyncio.gather(*(one_more(databases[n % 3]) for n in range(50)))
    async with databases[0].read() as connection:
        target = await targets.get(connection, "default", "default")
    assert target is not None
    assert target.organizational_unit == "50"


async def test_two_write_the_same_row_first_and_one_is_kept(databases: list[Database]) -> None:
    async def put(database: Database, number: int) -> None:
        async with database.transaction() as tx:
            key = {"account": "new", "region": "new"}
            values = {"organizational_unit": str(number), "enabled": True, "changed_at": NOW, "changed_by": "x"}
            await upsert.put(tx.connection, tables.targets, key, values)

    await asyncio.gather(*(put(databases[n % 3], n) for n in range(20)))
    async with databases[0].read() as connection:
        rows = [target for target in await targets.all_targets(connection) if target.account == "new"]
    assert len(rows) == 1


async def test_failures_that_nobody_knew_of_are_all_counted(databases: list[Database]) -> None:
    async def fail(database: Database) -> None:
        async with database.transaction() as tx:
            known = (await sign_ins.lock_failures(tx.connection, ["a", "b"])).get("a")
            await asyncio.sleep(0)
            await sign_ins.set_failures(tx.connection, "a", Failures((known.count if known else 0) + 1, NOW))

    await asyncio.gather(*(fail(databases[n % 3]) for n in range(30)))
    async with databases[0].read() as connection:
        assert (await sign_ins.failures(connection, ["a"]))["a"].count == 30


async def test_a_code_works_once(databases: list[Database]) -> None:
    async with databases[0].transaction() as tx:
        await sign_ins.add_code(tx.connection, "h", NOW)

    async def use(database: Database) -> bool:
        async with database.transaction() as tx:
            return await sign_ins.use_code(tx.connection, "h", NOW - timedelta(hours=1))

    assert sum(await asyncio.gather(*(use(databases[n % 3]) for n in range(12)))) == 1


async def test_of_codes_made_at_once_one_is_left(databases: list[Database]) -> None:
    async def add(database: Database, number: int) -> None:
        async with database.transaction() as tx:
            await sign_ins.add_code(tx.connection, f"h{number}", NOW)

    await asyncio.gather(*(add(databases[n % 3], n) for n in range(9)))
    async with databases[0].read() as connection:
        assert len((await connection.execute(select(tables.administrator_codes))).all()) == 1


async def test_whoever_decides_by_policies_holds_back_their_change(databases: list[Database]) -> None:
    deciding, changing, _ = databases
    order: list[str] = []
    is_held = asyncio.Event()

    async def decide() -> None:
        async with deciding.transaction() as tx:
            await policies.hold_scope(tx.connection, "a", "r")
            is_held.set()
            await asyncio.sleep(0.05)  # time for the other one to overtake, if it could
            order.append("decided")

    async def change(account: str, region: str) -> None:
        await is_held.wait()
        async with changing.transaction() as tx:
            await policies.lock_scope(tx.connection, account, region)
            order.append(f"changed {account}")

    await asyncio.gather(decide(), change("a", "r"))
    assert order == ["decided", "changed a"]
    is_held.clear()
    await asyncio.gather(decide(), change("*", "*"))
    assert order[2:] == ["decided", "changed *"]


async def test_events_are_numbered_in_the_order_of_their_transaction(database: Database) -> None:
    async with database.transaction() as tx:
        await events.append(tx.connection, *(Event(f"t.{n}", NOW, "s", "") for n in range(300)))
    async with database.read() as connection:
        rows = await connection.execute(select(tables.events.c.type).order_by(tables.events.c.sequence))
    assert [row.type for row in rows] == [f"t.{n}" for n in range(300)]


async def test_an_interrupted_transaction_gives_its_connection_back(database: Database) -> None:
    """Cut off at any point, it must leave no lock behind, nor use the connections up."""
    for n in range(60):
        with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what is cut off
            async with asyncio.timeout(n * 0.0002), database.transaction() as tx:
                await tx.connection.execute(text("SELECT 1"))
                await asyncio.sleep(1)
    async with asyncio.timeout(30), database.transaction() as tx:
        assert await tx.connection.scalar(text("SELECT 1")) == 1

"""What one replica changes, another one hears of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.wakeups import Wakeups, _payloads
from tests.postgresql import PostgresqlServer


class Replica:
    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.changes = Changes()
        self.wakeups = Wakeups(self.database, self.changes)


@pytest.fixture
async def url(postgresql: PostgresqlServer) -> AsyncIterator[str]:
    name = await postgresql.new_database()
    yield postgresql.url(name)
    await postgresql.give_back(name)


@contextlib.asynccontextmanager
async def replicas(url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    both = Replica(url), Replica(url)
    listening = [replica.changes.subscribe("ready") for replica in both]
    with listening[0] as first, listening[1] as second:
        workers = [asyncio.create_task(replica.wakeups.run()) for replica in both]
        await heard(first)
        await heard(second)
    try:
        yield both
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for replica in both:
            await replica.database.close()


async def heard(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_other_replica_wakes_up(url: str) -> None:
    async with replicas(url) as (one, other):
        with other.changes.subscribe("oi-1") as wanted, other.changes.subscribe("oi-2") as unwanted:
            one.changes.publish("oi-1", "requests")
            await heard(wanted)
            assert not unwanted.is_set()


async def test_a_replica_does_not_answer_itself(url: str) -> None:
    async with replicas(url) as (one, other):
        with one.changes.subscribe("t") as own, other.changes.subscribe("t") as others:
            one.changes.publish("t")
            assert own.is_set()  # at once, without the database
            own.clear()
            await heard(others)
            other.changes.publish("u")  # what comes back after it shows that the first one did not
            with one.changes.subscribe("u") as later:
                await heard(later)
            assert not own.is_set()


async def test_very_many_at_once_arrive(url: str) -> None:
    topics = [f"oi-{n:012x}" for n in range(2000)]
    async with replicas(url) as (one, other):
        with contextlib.ExitStack() as stack:
            events = [stack.enter_context(other.changes.subscribe(topic)) for topic in topics]
            for topic in topics:
                one.changes.publish(topic)
            await until(lambda: all(event.is_set() for event in events))


async def test_a_cut_connection_is_made_anew_and_everybody_looks(url: str, postgresql: PostgresqlServer) -> None:
    async with replicas(url) as (one, other):
        with one.changes.subscribe("first") as first, other.changes.subscribe("x") as any_topic:
            await postgresql.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jitgate'"
            )
            await heard(any_topic)  # something may have been missed
            await heard(first)
            any_topic.clear()
            one.changes.publish("x")
            await heard(any_topic)


async def test_nonsense_on_the_channel_is_ignored(url: str, postgresql: PostgresqlServer) -> None:
    database = url.partition("@/")[2].partition("?")[0]
    async with replicas(url) as (one, other):
        for nonsense in ("", "{", "{}", "[1, null, {}]", '"text"'):
            await postgresql.sql(f"SELECT pg_notify('jitgate_changes', $${nonsense}$$)", database)
        with other.changes.subscribe("x") as wanted:
            one.changes.publish("x")
            await heard(wanted)


def test_a_notification_is_never_too_long() -> None:
    topics = ["é" * 160] * 50 + ["t" * 7000] * 3 + ["x"]
    payloads = list(_payloads(topics))
    assert all(len(payload.encode()) < 8000 for payload in payloads)
    assert sum(payload.count('"') for payload in payloads) == 2 * len(topics)
    assert list(_payloads([])) == []

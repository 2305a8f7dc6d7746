import asyncio
import contextlib
from datetime import timedelta

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from approvals.model import EndReason, Status
from gateway.access.deadlines import Deadlines
from gateway.access.left_alone import MOST, LeftAlone
from gateway.access.model import AccessRequest
from gateway.store import tables
from policy.model import PolicyKind
from tests.gateway.access.world import Hands, World, manual


async def life(world: World, request: AccessRequest) -> tuple[Status, EndReason | None]:
    now = (await world.reader.get(await world.caller("ada"), request.life.id)).life
    return now.status, now.end_reason


@pytest.mark.rule("R21")
async def test_pending_requests_time_out(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    ready.clock.advance(days=7, seconds=-1)
    assert await ready.deadlines.tick() == 0
    assert await life(ready, request) == (Status.PENDING, None)
    ready.clock.advance(seconds=1)
    assert await ready.deadlines.tick() == 1
    assert await life(ready, request) == (Status.TIMED_OUT, EndReason.NOT_DECIDED_IN_TIME)
    assert await ready.deadlines.tick() == 0


@pytest.mark.rule("R7")
async def test_windows_expire_with_their_tokens(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    await ready.tokens.issue(await ready.caller("alice"), request.life.id)
    ready.clock.advance(minutes=59, seconds=59)
    assert await ready.deadlines.tick() == 0
    ready.clock.advance(seconds=1)
    with ready.changes.subscribe("sessions") as woken:
        assert await ready.deadlines.tick() == 1
        assert woken.is_set()
    assert await life(ready, request) == (Status.EXPIRED, EndReason.WINDOW_ENDED)
    revoked = [
        row[tables.access_tokens.c.keys().index("revoked_at")] for row in (await ready.rows())["access_tokens"]
    ]
    assert None not in revoked


@pytest.mark.rule("R21")
async def test_a_window_without_a_first_session_expires_after_a_day(ready: World) -> None:
    await ready.put(PolicyKind.MANUAL, manual(more="windowStarts: firstSession\n"))
    request = await ready.approved()
    ready.clock.advance(hours=24)
    assert await ready.deadlines.tick() == 1
    assert await life(ready, request) == (Status.EXPIRED, EndReason.NO_FIRST_SESSION)


async def test_a_clock_that_goes_back_reopens_nothing(ready: World) -> None:
    expired, timed_out = await ready.ask("alice", "web-1"), await ready.ask("alice", "db-1")
    ready.clock.jump(days=8)
    assert await ready.deadlines.tick() == 2
    ready.clock.jump(days=-9)
    assert await ready.deadlines.tick() == 0
    assert (await life(ready, expired))[0] is Status.EXPIRED
    assert (await life(ready, timed_out))[0] is Status.TIMED_OUT
    assert await ready.tokens.issue(await ready.caller("alice"), expired.life.id) is Status.EXPIRED


async def test_several_replicas_tell_each_end_once(ready: World) -> None:
    asked = [await ready.ask("alice", "db-1") for _ in range(20)]
    ready.clock.advance(days=7)
    replicas = [Hands(ready.url, ready.clock) for _ in range(4)]
    try:
        ended = await asyncio.gather(*(replica.deadlines.tick() for replica in replicas))
    finally:
        for replica in replicas:
            await replica.database.close()
    assert sum(ended) == 20
    for request in asked:
        assert (await ready.events(request.life.id)).count("access_request.timed_out") == 1


async def test_more_than_one_batch(ready: World) -> None:
    for _ in range(103):
        await ready.ask("alice", "db-1")
    ready.clock.advance(days=7)
    assert await ready.deadlines.tick() == 103


async def test_one_damaged_record_keeps_no_other_open(ready: World) -> None:
    damaged, fine = await ready.ask("alice", "web-1"), await ready.ask("alice", "web-1")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.access_requests, damaged.life.id, state={"form": 99})
    ready.clock.advance(hours=1)
    assert await ready.deadlines.tick() == 1
    assert await life(ready, fine) == (Status.EXPIRED, EndReason.WINDOW_ENDED)


async def test_a_damaged_record_is_left_alone_for_longer_each_time_and_ends_once_it_is_mended(
    ready: World,
) -> None:
    damaged = await ready.ask("alice", "web-1")
    async with ready.database.transaction() as tx:
        query = select(tables.access_requests.c.state).where(tables.access_requests.c.id == damaged.life.id)
        state = await tx.connection.scalar(query)
        await ready.set(tx.connection, tables.access_requests, damaged.life.id, state={"form": 99})
    ready.clock.advance(hours=1)
    for wait in (2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600):
        with capture_logs() as logs:
            for _ in range(3):
                await ready.deadlines.tick()
            ready.clock.advance(seconds=wait - 1)
            await ready.deadlines.tick()
        assert [entry["again_after_seconds"] for entry in logs] == [wait]
        ready.clock.advance(seconds=1)
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.access_requests, damaged.life.id, state=state)
    assert await ready.deadlines.tick() == 1
    assert await life(ready, damaged) == (Status.EXPIRED, EndReason.WINDOW_ENDED)


async def test_a_batch_of_damaged_records_keeps_no_other_open(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.access.deadlines._BATCH", 3)
    damaged = [await ready.ask("alice", "web-1") for _ in range(4)]
    fine = await ready.ask("alice", "web-1")
    async with ready.database.transaction() as tx:
        for request in damaged:
            await ready.set(tx.connection, tables.access_requests, request.life.id, state={"form": 99})
    ready.clock.advance(hours=1)
    for _ in range(3):
        await ready.deadlines.tick()
    assert await life(ready, fine) == (Status.EXPIRED, EndReason.WINDOW_ENDED)


def test_only_so_many_records_are_remembered() -> None:
    left_alone = LeftAlone(lambda: 0.0)
    for number in range(MOST + 5):
        left_alone.failed(str(number))
    assert len(left_alone.now()) == MOST
    left_alone.succeeded("0")
    assert "0" not in left_alone.now()


async def test_the_worker_runs_by_itself_and_again_after_a_failure(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    ready.clock.advance(hours=1)
    failures = iter([OSError("the disk is away")])

    class Stumbling(Deadlines):
        async def tick(self) -> int:
            for failure in failures:
                raise failure
            return await super().tick()

    worker = Stumbling(ready.database, ready.clock, ready.changes, ready.transitions)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(30):
            while (await life(ready, request))[0] is Status.APPROVED:
                ready.changes.publish("requests")
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert (await life(ready, request))[0] is Status.EXPIRED


async def test_the_worker_stops_though_something_changes_at_that_moment(ready: World) -> None:
    running = asyncio.create_task(ready.deadlines.run())
    await asyncio.sleep(0.5)
    ready.changes.publish("requests")
    await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.rule("R28")
async def test_requests_are_kept_for_a_year(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    await ready.tokens.issue(await ready.caller("alice"), request.life.id)
    pending = await ready.ask("alice", "db-1")
    ready.clock.advance(hours=1)
    await ready.deadlines.tick()
    ready.clock.advance(days=365, hours=-1)
    assert await ready.deadlines.purge() == 0
    assert await life(ready, request) == (Status.EXPIRED, EndReason.WINDOW_ENDED)
    ready.clock.advance(hours=2)
    assert await ready.deadlines.purge() == 1
    rows = await ready.rows()
    assert [row[0] for row in rows["access_requests"]] == [pending.life.id]
    assert rows["access_tokens"] == []
    # The audit log goes on knowing of it.
    assert (await ready.events(request.life.id))[-1] == "access_request.purged"


@pytest.mark.rule("R28")
async def test_several_replicas_purge_each_request_once(ready: World) -> None:
    for _ in range(3):
        await ready.ask("alice", "web-1")
    ready.clock.advance(hours=1)
    await ready.deadlines.tick()
    replicas = [Hands(ready.url, ready.clock) for _ in range(3)]
    ready.clock.advance(days=366)
    try:
        purged = await asyncio.gather(*(replica.deadlines.purge() for replica in replicas))
    finally:
        for replica in replicas:
            await replica.database.close()
    assert sum(purged) == 3
    types = [row[1] for row in (await ready.rows())["events"]]
    assert types.count("access_request.purged") == 3


@pytest.mark.rule("R28")
async def test_the_floor_is_a_year(ready: World) -> None:
    wiring = (ready.database, ready.clock, ready.changes, ready.transitions)
    with pytest.raises(ValueError, match="365"):
        Deadlines(*wiring, retention=timedelta(days=364))
    longer = Deadlines(*wiring, retention=timedelta(days=400), monotonic=ready.monotonic)
    await ready.ask("alice", "web-1")
    ready.clock.advance(hours=1)
    await ready.deadlines.tick()
    ready.clock.advance(days=399)
    assert await longer.purge() == 0
    ready.clock.advance(days=1, hours=1)
    assert await longer.purge() == 1


@pytest.mark.rule("R28")
async def test_a_clock_set_ahead_by_mistake_purges_nothing(ready: World) -> None:
    await ready.ask("alice", "web-1")
    ready.clock.advance(hours=1)
    await ready.deadlines.tick()
    ready.clock.jump(days=4000)
    assert await ready.deadlines.purge() == 0
    ready.clock.advance(minutes=59)
    assert await ready.deadlines.purge() == 0
    ready.clock.jump(days=-4000)
    ready.clock.advance(hours=2)
    assert await ready.deadlines.purge() == 0
    assert len((await ready.rows())["access_requests"]) == 1

"""What waits in a channel gets where it belongs (R9, R29), however often that fails."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from gateway.notices.backlog import NoticeBacklog
from gateway.notices.carriers import SinkCarrier
from gateway.notices.delivering import LEASE, Deliverer
from gateway.store import outbox
from notifiers.errors import TryAgain, Undeliverable
from notifiers.events.model import PublishedEvent
from notifiers.model import Delivery, Receipt
from tests.gateway.notices.conftest import CHAT, Desk


async def dead(desk: Desk) -> list[outbox.Due]:
    async with desk.world.database.read() as connection:
        return await outbox.page(connection, dead_only=True, limit=100)


async def test_what_cannot_be_delivered_is_a_dead_letter_and_holds_nothing_up(desk: Desk) -> None:
    desk.pad.trouble = [Undeliverable("no such channel")] * 3
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    assert {one.last_error for one in await dead(desk)} == {"no such channel"}
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    assert ("alice", "cancelled") in await desk.work()
    backlog = NoticeBacklog(desk.world.database, desk.world.changes, desk.world.clock)
    assert await backlog.retry(await desk.world.caller("root"), []) == (0, 3)
    assert await desk.work() == [], "nobody is asked to decide what is over"
    assert await dead(desk) == []
    assert await desk.world.events("notices") == ["notice.discarded"]


async def test_of_a_channels_failures_the_latest_is_shown(desk: Desk) -> None:
    desk.pad.trouble = [Undeliverable("the workspace is gone")] * 3
    await desk.world.ask("alice", "db-1")
    await desk.work()
    desk.pad.trouble = [Undeliverable("it has no such channel")]
    await desk.world.ask("bob", "db-1")
    await desk.work()
    async with desk.world.database.read() as connection:
        [chat] = [one for one in await outbox.backlog(connection) if one.channel == CHAT]
    assert (chat.pending, chat.dead, chat.last_error) == (0, 4, "it has no such channel")


async def test_what_is_tried_again_takes_no_later_state_back(desk: Desk) -> None:
    desk.pad.trouble = [Undeliverable("no such channel")] * 3
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    await desk.approve(request, "sam")
    await desk.work()
    backlog = NoticeBacklog(desk.world.database, desk.world.changes, desk.world.clock)
    assert await backlog.retry(await desk.world.caller("root"), []) == (3, 0)
    again = await desk.work()
    assert sorted(again) == [("sam", "approval_needed"), ("sue", "approval_needed")], "they heard of nothing yet"
    shown = [one.notice.subject.level for one in desk.pad.taken if one.recipient.address == {"place": "#access"}]
    assert shown[-1] == 2
    assert await dead(desk) == []


async def test_what_is_tried_again_waits_for_what_is_being_tried(desk: Desk) -> None:
    """Else an older state could overtake the newer one on its way, and stay."""
    desk.pad.trouble = [Undeliverable("no such channel")] * 3
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    await desk.approve(request, "sam")
    while await desk.expander.expand():
        pass
    [old] = [one for one in await dead(desk) if one.document["recipient"]["address"] == {"place": "#access"}]
    now = desk.world.clock()
    async with desk.world.database.transaction() as tx:
        mine = outbox.Lease("two/chat", now + LEASE)
        taken = await outbox.lease(tx.connection, CHAT, now, mine, 10)
        assert old.lane in {one.lane for one in taken}
        assert await outbox.retry(tx.connection, [old.id], now) == 1
    assert await desk.work() == []
    desk.world.clock.advance(seconds=LEASE.total_seconds() + 1)
    told = [one.notice.event for one in desk.pad.taken] if await desk.work() else []
    assert told[0] == old.event


@pytest.mark.parametrize("failure", [TryAgain, RuntimeError])
async def test_what_fails_is_tried_again_and_given_up_after_a_day(desk: Desk, failure: type[Exception]) -> None:
    await desk.world.ask("alice", "db-1")
    desk.pad.tries, desk.pad.always = 0, lambda: failure("down")
    for number in range(1, 6):
        await desk.work()
        assert desk.pad.tries == 3 * number
        assert (await dead(desk) == []) is (number < 5)
        await desk.work()
        assert desk.pad.tries == 3 * number
        desk.world.clock.advance(hours=6)
    assert len(await dead(desk)) == 3
    assert desk.pad.taken == []


async def test_pauses_grow(desk: Desk) -> None:
    await desk.world.ask("alice", "db-1")
    desk.pad.always = lambda: TryAgain("down")
    for pause in (1, 2, 4, 8, 16):
        await desk.work()
        desk.pad.tries = 0
        desk.world.clock.advance(seconds=pause * 0.49)
        await desk.work()
        assert desk.pad.tries == 0
        desk.world.clock.advance(seconds=pause * 1.02)


async def test_a_service_that_asks_for_time_gets_it(desk: Desk) -> None:
    desk.pad.trouble = [TryAgain("slow down", 90.0)] * 3
    await desk.world.ask("alice", "db-1")
    await desk.work()
    desk.world.clock.advance(seconds=89)
    assert await desk.work() == []
    desk.world.clock.advance(seconds=11)
    desk.pad.trouble.clear()
    assert len(await desk.work()) == 3


async def test_a_service_that_asks_for_time_is_left_alone_by_all_that_waits(desk: Desk) -> None:
    for _ in range(7):
        await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    desk.pad.tries, desk.pad.trouble = 0, [TryAgain("slow down", 30.0)] * desk.pad.concurrency

    async def hand() -> None:
        while await desk.deliverer.deliver():
            pass

    await asyncio.gather(*(hand() for _ in range(desk.pad.concurrency)))
    assert 1 <= desk.pad.tries <= desk.pad.concurrency
    desk.world.clock.advance(seconds=29)
    assert await desk.work() == []
    assert desk.pad.tries <= desk.pad.concurrency
    desk.pad.trouble.clear()
    desk.world.clock.advance(seconds=5)
    assert len(await desk.work()) == 21


async def test_of_hands_that_wake_together_one_looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a channel wake when something waits; on SQLite every one that writes makes the others wait."""
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    lease, next_due, leased = outbox.lease, outbox.next_due, list[int | str]()

    async def counted(*given: Any) -> list[outbox.Due]:
        found = await lease(*given)
        leased.append(len(found))
        return found

    async def looked(*given: Any) -> datetime | None:
        leased.append("looked")
        return await next_due(*given)

    monkeypatch.setattr(outbox, "lease", counted)
    monkeypatch.setattr(outbox, "next_due", looked)
    tried = await asyncio.gather(*(desk.deliverer.deliver() for _ in range(8)))
    assert (sum(tried), leased) == (3, ["looked", 3])
    tried = await asyncio.gather(*(desk.deliverer.deliver() for _ in range(8)))
    assert (sum(tried), leased) == (0, ["looked", 3, "looked"])


async def test_a_look_that_fails_takes_nothing_from_later_ones(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass

    async def away(*_given: Any) -> datetime | None:
        raise RuntimeError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "next_due", away)
        tried = await asyncio.gather(*(desk.deliverer.deliver() for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in tried] == [RuntimeError, bool, bool]
    assert len(await desk.work()) == 3


async def test_an_order_to_end_that_a_channel_swallows_is_heard_when_it_comes_again(desk: Desk) -> None:
    """Until Python 3.12 `asyncio.wait_for` swallows a cancellation that meets an answer, as aiosmtplib uses it."""
    trying = asyncio.Event()

    async def swallows(_delivery: Delivery) -> Receipt:
        trying.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise TryAgain("connection refused") from None
        raise AssertionError

    desk.pad.deliver = swallows  # type: ignore[method-assign,assignment]  # this one's behaviour is the test
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    others = asyncio.all_tasks()
    running = asyncio.create_task(desk.deliverer.run())
    await trying.wait()
    running.cancel()
    while not running.done():
        await asyncio.wait({running}, timeout=0.1)
        running.cancel()
    assert running.cancelled()
    assert asyncio.all_tasks() == others  # no hand goes on by itself


async def test_what_a_channel_cancels_of_its_own_ends_no_hand(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library does that waits for a task which it has cancelled: the channel would tell nobody any more."""
    bring = desk.pad.deliver
    tried = 0

    async def gives_up(delivery: Delivery) -> Receipt:
        nonlocal tried
        tried += 1
        if tried <= desk.pad.concurrency:
            given_up = asyncio.get_running_loop().create_future()
            given_up.cancel()
            await given_up
        return await bring(delivery)

    monkeypatch.setattr(desk.pad, "deliver", gives_up)
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    running = asyncio.create_task(desk.deliverer.run())
    async with asyncio.timeout(30):
        while len(desk.pad.taken) < 3 and not running.done():
            desk.world.clock.advance(seconds=1)
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait({running})
    assert len(desk.pad.taken) == 3


async def test_what_is_under_way_when_the_gateway_ends_arrives_and_is_noted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would come twice wherever the service can't tell."""
    trying, bring = asyncio.Event(), desk.pad.deliver

    async def slowly(delivery: Delivery) -> Receipt:
        trying.set()
        await asyncio.sleep(0.2)
        return await bring(delivery)

    monkeypatch.setattr(desk.pad, "deliver", slowly)
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    running = asyncio.create_task(desk.deliverer.run())
    await trying.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    before = [one.id for one in desk.pad.taken]
    assert before
    monkeypatch.undo()
    desk.world.clock.advance(seconds=LEASE.total_seconds() + 1)
    await desk.work()
    after = [one.id for one in desk.pad.taken]
    assert len(after) == len(set(after)) == 3


async def test_gateways_do_not_come_back_to_a_service_in_the_same_moment(desk: Desk) -> None:
    """What a service asks for is the least; how much later it is tried differs."""
    desk.pad.trouble = [TryAgain("slow down", 600.0)] * 5
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    again = []
    for replica in ("one", "two", "three"):
        # One that has not heard of it yet.
        assert await Desk(desk.world, desk.pad, replica=replica).deliverer.deliver()
        async with desk.world.database.read() as connection:
            waiting = await outbox.page(connection, dead_only=False, limit=10)
        again = [(one.due_at - desk.world.clock()).total_seconds() for one in waiting if one.last_error]
    assert min(again) >= 600
    assert len(set(again)) == 3


@pytest.mark.rule("R29")
async def test_a_sink_that_asks_for_time_is_left_alone_as_well(desk: Desk) -> None:
    desk.log.trouble = [TryAgain("slow down", 30.0)]
    for _ in range(3):
        await desk.world.ask("alice", "db-1")
    await desk.work()
    assert desk.log.tries == 1
    desk.world.clock.advance(seconds=29)
    await desk.work()
    assert desk.log.tries == 1
    desk.world.clock.advance(seconds=5)
    await desk.work()
    assert len(desk.log.events) >= 3


@pytest.mark.rule("R29")
async def test_a_sink_that_takes_long_for_one_subject_gets_the_others_meanwhile(desk: Desk) -> None:
    on, release = desk.world, asyncio.Event()
    desk.log.at_once = 1
    sender = Deliverer(on.database, on.clock, on.changes, "events/log", SinkCarrier(desk.log), replica="two")
    put, slow = desk.log.put, (await desk.world.ask("alice", "db-1")).life.id
    other = (await desk.world.ask("bob", "db-1")).life.id

    async def slowly(events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        if events[0].subject == slow:
            await release.wait()
        return await put(events)

    desk.log.put = slowly  # type: ignore[method-assign]  # as above
    while await desk.expander.expand():
        pass
    held, *_ = hands = [asyncio.create_task(sender.deliver()) for _ in range(2)]
    await asyncio.wait(hands, return_when=asyncio.FIRST_COMPLETED)
    while await sender.deliver():
        pass
    assert {event.subject for event in desk.log.events} == {other}
    assert not held.done()
    release.set()
    await asyncio.gather(*hands)
    await desk.work()
    assert {event.subject for event in desk.log.events} == {slow, other}


async def test_a_failure_that_is_noted_too_late_is_not_taken_for_the_next_tries(desk: Desk) -> None:
    """As by a gateway that stood still: another one tries it meanwhile, and a third must not begin as well."""
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    taken = []
    for replica in ("one", "two"):
        now = desk.world.clock()
        async with desk.world.database.transaction() as tx:
            mine = outbox.Lease(f"{replica}/chat", now + LEASE)
            taken.append(await outbox.lease(tx.connection, CHAT, now, mine, 10))
        desk.world.clock.advance(seconds=LEASE.total_seconds() + 1 if replica == "one" else 1)
    assert [len(each) for each in taken] == [3, 3]
    late = desk.world.clock()
    async with desk.world.database.transaction() as tx:
        for one in taken[0]:
            await outbox.failed(tx.connection, one, "down", late, late)
    assert not await desk.deliverer.deliver()


class Killed(BaseException):
    """Nothing handles it."""


async def test_what_a_dead_process_was_trying_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9 between the service's answer and our note of it."""
    await desk.world.ask("alice", "db-1")

    async def dies(connection: object, *_: object) -> bool:
        raise Killed

    while await desk.expander.expand():
        pass
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "delivered", dies)
        with pytest.raises(Killed):
            await desk.deliverer.deliver()
    [lost] = desk.pad.taken
    other = Desk(desk.world, desk.pad).deliverer
    while await other.deliver():
        pass
    assert len(desk.pad.taken) == 3
    desk.world.clock.advance(seconds=LEASE.total_seconds() + 1)
    while await other.deliver():
        pass
    assert (desk.pad.taken[-1].id, desk.pad.taken[-1].attempt) == (lost.id, 2)


async def test_a_process_that_starts_again_takes_up_its_own_at_once(desk: Desk) -> None:
    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    async with desk.world.database.transaction() as tx:
        lease = outbox.Lease("one/chat", desk.world.clock() + LEASE)
        assert len(await outbox.lease(tx.connection, CHAT, desk.world.clock(), lease, 10)) == 3
    assert not await desk.deliverer.deliver()
    async with desk.world.database.transaction() as tx:
        await outbox.release(tx.connection, "two/chat")
    assert not await desk.deliverer.deliver()
    async with desk.world.database.transaction() as tx:
        await outbox.release(tx.connection, "one/chat")
    assert await desk.deliverer.deliver()

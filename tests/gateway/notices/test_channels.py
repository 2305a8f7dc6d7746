"""Channels apart from each other, gateways beside each other, and what `jit doctor` shows of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from gateway.api.diagnosis import Diagnosis
from gateway.notices import carriers
from gateway.notices.carriers import NoticeCarrier
from gateway.notices.channels import Channel, Channels
from gateway.notices.checks import channel_checks
from gateway.notices.delivering import LONGEST_AGAIN, Deliverer
from gateway.notices.expanding import ChannelPlan, Expander
from gateway.notices.planning import Watcher
from gateway.store import outbox
from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.model import Delivery, Receipt
from tests.gateway.access.world import World
from tests.gateway.notices.conftest import CHAT, Desk, Pad


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class Hanging(Pad):
    """Takes nothing for those places, and never says so."""

    def __init__(self, *places: str) -> None:
        super().__init__()
        self.places = places

    async def deliver(self, delivery: Delivery) -> Receipt:
        if delivery.recipient.address.get("place") in self.places:
            self.tries += 1
            await asyncio.Event().wait()
        return await super().deliver(delivery)


@contextlib.asynccontextmanager
async def running(on: World, **pads: Pad) -> AsyncIterator[Expander]:
    """A gateway with these channels, each of which is told to two places."""
    watchers = (Watcher({"place": "#slow"}), Watcher({"place": "#quick"}))
    plans = [ChannelPlan(name, name, watchers=watchers) for name in pads]
    expander = Expander(on.database, on.clock, on.changes, plans, [])
    async with asyncio.TaskGroup() as work:
        tasks = [work.create_task(expander.run())]
        for name, pad in pads.items():
            carrier = NoticeCarrier(on.database, pad, name)
            one = Deliverer(on.database, on.clock, on.changes, name, carrier, replica="one")
            tasks.append(work.create_task(one.run()))
        yield expander
        for task in tasks:
            task.cancel()


def told(pad: Pad) -> list[tuple[str, str]]:
    return [(who, kind) for who, kind in pad.told() if who == "#quick"]


async def test_a_channel_that_hangs_delays_no_other_and_a_recipient_nobody(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "LONGEST_SECONDS", 600.0)  # which would free it
    hanging, partly, well = Hanging("#slow", "#quick"), Hanging("#slow"), Pad()
    async with running(ready, hanging=hanging, partly=partly, well=well):
        for number in range(1, 4):
            await ready.ask("alice", "db-1")
            await until(lambda count=number: len(well.taken) == 2 * count)  # type: ignore[misc]  # bound here
            if number == 1:
                await until(lambda: hanging.tries == 2)
        await until(lambda: hanging.tries == hanging.concurrency)
        # One hand hangs there, the other goes on with whatever hangs not.
        await until(lambda: len(told(partly)) >= 1)
        assert hanging.taken == []


async def test_an_attempt_that_hangs_is_ended_and_tried_again(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "LONGEST_SECONDS", 0.1)
    pad = Hanging("#slow")
    desk = Desk(ready, pad, watchers=(Watcher({"place": "#slow"}),))
    await ready.ask("alice", "db-1")
    assert await desk.work() == []
    [waits] = await waiting(desk)
    assert (waits.attempts, waits.is_dead) == (1, False)
    assert waits.last_error == "it took longer than 0.1 seconds"
    monkeypatch.setattr(carriers, "LONGEST_SECONDS", 30.0)
    pad.places = ()
    ready.clock.advance(seconds=2)
    assert await desk.work() == [("#slow", "approval_needed")]


async def waiting(desk: Desk) -> list[outbox.Due]:
    async with desk.world.database.read() as connection:
        return await outbox.page(connection, dead_only=False, limit=100)


async def test_pauses_differ_and_end_at_five_minutes(desk: Desk) -> None:
    for _ in range(3):
        await desk.world.ask("alice", "db-1")
    desk.pad.always = lambda: TryAgain("down")
    for number in range(12):
        await desk.work()
        pauses = [one.due_at - desk.world.clock() for one in await waiting(desk)]
        assert len(pauses) == 9
        assert len(set(pauses)) > 1, "all would come back in the same moment"
        whole = min(timedelta(seconds=1 << number), LONGEST_AGAIN)
        assert all(whole * 0.5 <= pause <= whole * 1.5 for pause in pauses)
        desk.world.clock.advance(seconds=whole.total_seconds() * 1.5 + 1)


@pytest.mark.rule("R30")
async def test_another_gateway_changes_the_first_message(desk: Desk) -> None:
    other = Desk(desk.world, Pad(), replica="two", watchers=desk.plan.watchers)
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    first = {one.recipient.user_id: {"message": str(place)} for place, one in enumerate(desk.pad.taken, start=1)}
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    assert ("sam", "cancelled") in await other.work()
    assert {one.recipient.user_id: one.first for one in other.pad.taken} == {**first, "alice": None}


async def found(desk: Desk, pad: Pad | None = None) -> Diagnosis:
    channels = Channels((Channel(desk.plan, lambda: pad or desk.pad),))
    [check] = channel_checks(channels, desk.world.database, desk.world.clock)
    return await check.run()


async def test_the_doctor_tells_what_waits_and_what_was_given_up(desk: Desk) -> None:
    assert await found(desk) == Diagnosis(f"notifications/{CHAT}", True, "there")
    desk.pad.trouble = [TryAgain("busy"), TryAgain("busy"), Undeliverable("no such channel")]
    await desk.world.ask("alice", "db-1")
    await desk.work()
    desk.world.clock.advance(seconds=90)
    dead = await found(desk)
    assert not dead.healthy
    assert dead.message == "there; 2 wait, the first for 90 s; 1 given up: no such channel"
    assert dead.what_to_do == "See what: jit notices list --given-up"
    async with desk.world.database.transaction() as tx:
        await outbox.drop(tx.connection, [one.id for one in await waiting(desk) if one.is_dead])
    waits = await found(desk)
    assert (waits.healthy, waits.message) == (True, "there; 2 wait, the first for 90 s: busy")


async def test_the_doctor_tells_that_a_channel_does_not_work(desk: Desk) -> None:
    class Broken(Pad):
        async def check(self) -> str:
            raise TryAgain("the service does not answer")

    await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    broken = await found(desk, Broken())
    assert not broken.healthy
    assert broken.message == "the service does not answer; 3 wait, the first for 0 s"
    assert broken.what_to_do == "What it would tell waits meanwhile."


async def test_the_doctor_tells_why_a_channel_cannot_be_used(desk: Desk) -> None:
    def make() -> Pad:
        raise Unusable("the secret cannot be read")

    channels = Channels((Channel(desk.plan, make),))
    [check] = channel_checks(channels, desk.world.database, desk.world.clock)
    unusable = await check.run()
    assert (unusable.healthy, unusable.message) == (False, f"{CHAT} is not available: the secret cannot be read")

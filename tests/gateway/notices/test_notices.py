"""Who is told what, from the event to the channel (R9, R29, R30), whatever fails in between."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.model import Role, RoleGrant
from gateway.notices.expanding import Expander
from gateway.notices.planning import Watcher
from gateway.store import contacts, directory, outbox, roles, tables
from gateway.store.database import Transaction
from gateway.store.events import Event, append
from notifiers.errors import TryAgain
from notifiers.model import Action, NoticeKind, Relation
from policy.model import PolicyKind
from tests.gateway.access.world import World
from tests.gateway.notices.conftest import CHAT, Desk, Pad


@pytest.mark.rule("R30")
async def test_a_request_from_asking_to_its_approval(desk: Desk) -> None:
    request = await desk.world.ask("alice", "db-1")
    assert sorted(await desk.work()) == [
        ("#access", "approval_needed"),
        ("sam", "approval_needed"),
        ("sue", "approval_needed"),
    ]
    asked = next(one for one in desk.pad.taken if one.recipient.user_id == "sam")
    assert asked.actions == (Action.APPROVE, Action.DENY)
    assert asked.recipient.relation is Relation.APPROVER
    assert asked.recipient.address == {"id": "U-sam"}
    assert asked.notice.link == f"https://gate.example/requests/{request.life.id}"
    subject = asked.notice.subject
    assert (subject.requester_name, subject.reason, subject.node_name) == ("Alice", "fix the disk", "db-1")
    assert (subject.status, subject.level, len(subject.levels)) == ("Pending", 1, 2)
    await desk.approve(request, "sam")
    told = await desk.work()
    assert ("alice", "approval_given") in told
    assert ("olga", "approval_needed") in told
    assert ("pete", "approval_needed") in told
    after = {one.recipient.user_id: one for one in desk.pad.taken[-len(told) :]}
    assert after["sam"].actions == (Action.REVOKE,)
    assert after["sue"].actions == ()
    assert after["sam"].first == {"message": str(desk.pad.taken.index(asked) + 1)}
    await desk.approve(request, "olga")
    told = await desk.work()
    assert {who for who, kind in told if kind == "approved"} == {"alice", "sam", "sue", "olga", "pete", "#access"}
    assert desk.pad.taken[-1].notice.subject.window_end is not None


async def test_what_took_the_place_of_a_deleted_message_is_changed_from_then_on(desk: Desk) -> None:
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    [asked] = [one for one in desk.pad.taken if one.recipient.user_id == "sam"]
    desk.pad.deleted.append({"message": str(desk.pad.taken.index(asked) + 1)})
    await desk.approve(request, "sam")
    await desk.work()
    [anew] = [one for one in desk.pad.taken if one.recipient.user_id == "sam" and one.first]
    place = {"message": str(desk.pad.taken.index(anew) + 1)}
    await desk.approve(request, "olga")
    await desk.work()
    later = [one for one in desk.pad.taken if one.recipient.user_id == "sam" and one.first][1:]
    assert later
    assert all(one.first == place for one in later)


@pytest.mark.rule("R29")
async def test_events_go_to_sinks_in_order_and_once(desk: Desk) -> None:
    request = await desk.world.ask("alice", "db-1")
    await desk.approve(request, "sam", "olga")
    await desk.work()
    await desk.work()
    types = [event.type.removeprefix("access_request.") for event in desk.log.events]
    assert types[0] == "opened"
    assert types[-1] == "approved"
    assert len({event.id for event in desk.log.events}) == len(types) == 6
    assert desk.log.events[0].details["kind"] == "request.opened"


async def test_what_a_sink_did_not_take_holds_only_its_own_subject_up(desk: Desk) -> None:
    desk.log.refuses = {"access_request.opened"}
    first = await desk.world.ask("alice", "db-1")
    await desk.world.requests.cancel(await desk.world.caller("alice"), first.life.id)
    await desk.world.ask("bob", "web-1")
    await desk.work()
    assert [event.subject == first.life.id for event in desk.log.events] == [False]
    desk.log.refuses.clear()
    desk.world.clock.advance(seconds=2)
    await desk.work()
    types = [event.type for event in desk.log.events if event.subject == first.life.id]
    assert types == ["access_request.opened", "access_request.cancelled"]


@pytest.mark.rule("R9")
async def test_a_conflict_is_told_to_those_who_watch_for_it(ready: World) -> None:
    mender = Watcher({"place": "#policies"}, notices=frozenset({NoticeKind.CONFLICT}))
    elsewhere = Watcher({"place": "#elsewhere"}, accounts=frozenset({"other"}))
    desk = Desk(ready, watchers=(mender, elsewhere))
    await desk.reach("alice")
    await ready.put(
        PolicyKind.MANUAL,
        "name: north\naccessHours: 1\ntargets: [{tag: Site}]\nlevels: [{approvers: [{user: olga}]}]\n",
    )
    await ready.ask("alice", "both-1")
    assert sorted(await desk.work()) == [("#policies", "conflict"), ("alice", "failed")]
    assert any("north" in line for line in desk.pad.taken[-1].notice.subject.conflict)


@pytest.mark.rule("R30")
async def test_a_channel_tells_what_it_is_set_to_but_ends_what_it_began(ready: World) -> None:
    desk = Desk(ready, notices=frozenset({NoticeKind.APPROVAL_NEEDED}), watchers=(Watcher({"place": "#access"}),))
    await desk.reach("alice", "sam", "sue")
    request = await ready.ask("alice", "db-1")
    await desk.work()
    await ready.requests.cancel(await ready.caller("alice"), request.life.id)
    assert sorted(await desk.work()) == [("sam", "cancelled"), ("sue", "cancelled")]


async def test_whoever_could_not_be_asked_in_time_is_not_bothered(desk: Desk) -> None:
    """Nor are people asked about what was decided while the channel was down."""
    request = await desk.world.ask("alice", "db-1")
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    assert sorted(await desk.work()) == [("#access", "cancelled"), ("alice", "cancelled")]


async def test_what_may_have_arrived_is_told_on(desk: Desk) -> None:
    desk.pad.trouble = [TryAgain("the answer was lost")] * 3
    request = await desk.world.ask("alice", "db-1")
    assert await desk.work() == []
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    desk.world.clock.advance(seconds=10)
    told = await desk.work()
    assert ("sam", "cancelled") in told
    assert all(one.attempt == 2 for one in desk.pad.taken if one.notice.kind is NoticeKind.APPROVAL_NEEDED)


async def test_the_requester_is_never_asked_whatever_groups_they_are_in(desk: Desk) -> None:
    await desk.world.person("sid", groups=["sre"])
    await desk.reach("sid")
    await desk.world.enable("default", "default")
    async with desk.world.database.transaction() as tx:
        await roles.add(tx.connection, RoleGrant("user", "sid", Role.USER))
    await desk.world.ask("sid", "db-1")
    assert ("sid", "approval_needed") not in await desk.work()


@pytest.mark.rule("R30")
async def test_everybody_hears_who_ended_it_and_when(desk: Desk) -> None:
    at, requests = desk.world.clock(), desk.world.requests
    denied, revoked, cancelled = [(await desk.world.ask("alice", "db-1")).life.id for _ in range(3)]
    await requests.deny(await desk.world.caller("sue"), denied, "no")
    for who in ("sam", "olga"):
        await requests.approve(await desk.world.caller(who), revoked)
    await requests.revoke(await desk.world.caller("root"), revoked, "wrong node")
    await requests.cancel(await desk.world.caller("alice"), cancelled)
    await desk.work()
    told = {one.notice.subject.request_id: one.notice.subject for one in desk.pad.taken}
    assert [(told[one].ended_by, told[one].ended_at) for one in (denied, revoked, cancelled)] == [
        ("sue", at),
        ("root", at),
        ("alice", at),
    ]


@pytest.mark.rule("R30")
async def test_the_mailbox_of_a_group_is_asked_when_the_group_is(ready: World) -> None:
    await ready.put(
        PolicyKind.MANUAL,
        "name: databases\naccessHours: 1\ntargets: [{tag: Workload, values: [db]}]\n"
        "levels: [{approvers: [{user: olga}]}, {approvers: [{group: sre}]}]\n",
    )
    duty, others = (Watcher({"place": name}, groups=frozenset({name})) for name in ("sre", "oncall"))
    desk = Desk(ready, watchers=(duty, others))
    request = await ready.ask("alice", "db-1")
    assert await desk.work() == [], "olga is asked first"
    await desk.approve(request, "olga")
    assert ("sre", "approval_needed") in await desk.work()
    await desk.approve(request, "sam")
    assert ("sre", "approved") in await desk.work()
    assert {who for who, _ in desk.pad.told()} == {"sre"}


@pytest.mark.rule("R30")
async def test_people_are_told_where_they_are_now(desk: Desk) -> None:
    """Not where they were when they were asked, or when it was first tried."""
    desk.pad.trouble = [TryAgain("down")] * 3
    request = await desk.world.ask("alice", "db-1")
    await desk.work()
    async with desk.world.database.transaction() as tx:
        for user_id in ("sam", "sue"):
            await contacts.put(tx.connection, moved(desk, user_id, "was"))
    desk.world.clock.advance(seconds=2)
    assert len(await desk.work()) == 3
    assert {one.recipient.address["id"] for one in desk.pad.taken if one.recipient.user_id} == {
        "was-sam",
        "was-sue",
    }
    async with desk.world.database.transaction() as tx:
        await contacts.put(tx.connection, moved(desk, "sam", "is"))
        await contacts.remove(tx.connection, "sue", CHAT)
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    assert sorted(await desk.work()) == [("#access", "cancelled"), ("alice", "cancelled"), ("sam", "cancelled")]
    [sam] = [one for one in desk.pad.taken[3:] if one.recipient.user_id == "sam"]
    assert (sam.recipient.address, sam.first) == ({"id": "is-sam"}, None)


async def test_whoever_was_removed_is_told_nothing_more(desk: Desk) -> None:
    """They have left, and their address may still lead to them."""
    world = desk.world
    request = await desk.world.ask("alice", "db-1")
    assert ("sam", "approval_needed") in await desk.work()
    await desk.approve(request, "sue")
    while await desk.expander.expand():
        pass
    async with world.database.transaction() as tx:
        await directory.remove(tx.connection, "sam", world.clock())
    told = await desk.work()
    await desk.approve(request, "olga")
    told += await desk.work()
    assert {"sue", "alice"} <= {who for who, _ in told}
    assert "sam" not in {who for who, _ in told}


async def test_whoever_is_reached_no_more_is_not_told_what_still_waits(desk: Desk) -> None:
    desk.pad.trouble = [TryAgain("down")] * 3
    await desk.world.ask("alice", "db-1")
    await desk.work()
    async with desk.world.database.transaction() as tx:
        await contacts.remove(tx.connection, "sam", CHAT)
    desk.world.clock.advance(seconds=2)
    assert sorted(who for who, _ in await desk.work()) == ["#access", "sue"]
    async with desk.world.database.read() as connection:
        assert await outbox.page(connection, dead_only=False, limit=10) == []


def moved(desk: Desk, user_id: str, where: str) -> contacts.Contact:
    address = {"id": f"{where}-{user_id}"}
    return contacts.Contact(user_id, CHAT, address["id"], address, "root", desk.world.clock())


async def test_an_expansion_that_dies_is_done_once_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.world.ask("alice", "db-1")

    async def dies(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "told", dies)
        with pytest.raises(SystemExit):
            await desk.expander.expand()
    assert len(await desk.work()) == 3
    assert await desk.work() == []


async def test_an_event_is_in_the_outbox_when_and_only_when_it_is_committed(desk: Desk) -> None:
    class Lost(Exception):
        pass

    async def ask_and_die(tx: Transaction) -> None:
        await append(tx.connection, Event("access_request.opened", desk.world.clock(), "oi-000000000000", "x"))
        raise Lost

    with pytest.raises(Lost):
        async with desk.world.database.transaction() as tx:
            await ask_and_die(tx)
    async with desk.world.database.read() as connection:
        assert await outbox.untold(connection, 10) == []


async def test_with_nobody_to_tell_the_outbox_is_swept(desk: Desk) -> None:
    await desk.world.ask("alice", "db-1")
    alone = Expander(desk.world.database, desk.world.clock, desk.world.changes, [], [])
    desk.world.clock.advance(minutes=59)
    await alone.sweep()
    assert len(await desk.work()) == 3, "another gateway tells somebody already"
    await desk.world.ask("alice", "db-1")
    desk.world.clock.advance(minutes=61)
    await alone.sweep()
    assert await desk.work() == []


async def test_a_damaged_request_keeps_nobody_else_from_being_told(desk: Desk) -> None:
    damaged = await desk.world.ask("alice", "db-1")
    async with desk.world.database.transaction() as tx:
        await desk.world.set(tx.connection, tables.access_requests, damaged.life.id, state={"form": 9})
    await desk.world.ask("bob", "db-1")
    assert len(await desk.work()) == 3
    assert {one.notice.subject.requester for one in desk.pad.taken} == {"bob"}


async def test_what_was_sent_is_forgotten_with_its_request(desk: Desk) -> None:
    request = await desk.world.ask("alice", "db-1")
    await desk.world.requests.cancel(await desk.world.caller("alice"), request.life.id)
    await desk.work()
    desk.world.clock.advance(days=366)
    assert await desk.world.deadlines.purge() == 1
    assert (await desk.world.rows())["messages"] == []


@dataclass
class Between:
    """A transaction in which something else happens after the first question."""

    connection: AsyncConnection
    happens: Callable[[], Awaitable[object]] | None

    async def scalars(self, query: Any) -> Any:
        found = await self.connection.scalars(query)
        if self.happens is not None:
            happens, self.happens = self.happens, None
            await happens()
        return found


async def test_whoever_is_told_while_somebody_asks_who_was_told_is_among_them(desk: Desk) -> None:
    """Else they would not hear what becomes of it, and their buttons would stay."""
    if desk.world.database.is_sqlite:
        return  # nothing is written while another one writes
    request = await desk.world.ask("alice", "db-1")
    while await desk.expander.expand():
        pass
    async with desk.world.database.transaction() as tx:
        between: Any = Between(tx.connection, desk.work)
        found = await outbox.recipients(between, CHAT, request.life.id)
    assert between.happens is None
    assert len(desk.pad.taken) == 3
    assert {"sam", "sue"} <= {one["user_id"] for one in found}


async def test_two_replicas_tell_everybody_once(desk: Desk) -> None:
    other = Desk(desk.world, Pad(), watchers=desk.plan.watchers)
    for _ in range(5):
        await desk.world.ask("alice", "db-1")
    await asyncio.gather(desk.work(), other.work(), desk.work(), other.work())
    taken = [one.id for pad in (desk.pad, other.pad) for one in pad.taken]
    assert len(taken) == len(set(taken)) == 15

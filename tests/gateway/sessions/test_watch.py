"""What must end, ends within a second, and the user reads why (R25, R26)."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.model import Role, RoleGrant
from gateway.identity.ports import Actor
from gateway.sessions.model import End
from gateway.sessions.watch import STALE_SECONDS
from gateway.store import sessions, tables
from gateway.store.database import Transaction
from tests.gateway.access.world import HOME, WEB, World
from tests.gateway.sessions.client import until
from tests.gateway.sessions.conftest import Rig, Stay

# R25's second, from the answer to whoever ends the access to the last frame at the client. The watch looks when it
# is woken, and twice a second even so; the rest is margin for a busy machine.
PROMISED_SECONDS = 1.0
EVERYTHING = sessions.Filter()

Act = Callable[[World, str], Awaitable[object]]


async def revoke(world: World, request_id: str) -> object:
    return await world.requests.revoke(await world.caller("root"), request_id, "the ticket was closed")


async def give_back(world: World, request_id: str) -> object:
    return await world.requests.give_back(await world.caller("alice"), request_id)


async def lock_user(world: World, _: str) -> object:
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.users, "alice", locked_at=world.clock())
        await world.ender.user_locked(tx, "alice", "laptop stolen", Actor("root", ""))
    return None


async def lock_node(world: World, _: str) -> object:
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.nodes, WEB, locked_at=world.clock())
        await world.ender.node_locked(tx, WEB, "forensics", Actor("root", ""))
    return None


async def remove_node(world: World, _: str) -> object:
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.nodes, WEB, removed_at=world.clock())
        await world.ender.node_removed(tx, WEB, "root")
    return None


async def disable(world: World, _: str) -> object:
    async with world.database.transaction() as tx:
        await world.ender.scope_disabled(tx, *HOME, Actor("root", ""))
    return None


async def retag(world: World, _: str) -> object:
    await world.retag(WEB, {"Environment": "prod"})
    return None


async def pass_the_window(world: World, _: str) -> object:
    return world.clock.advance(hours=1)


async def lock_only(world: World, _: str) -> object:
    """A lock whose ender failed: the lock itself still counts."""
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.users, "alice", locked_at=world.clock())
    return None


@pytest.mark.alone
@pytest.mark.rule("R25")
@pytest.mark.parametrize(
    ("act", "end", "words"),
    [
        (revoke, End.REVOKED, "revoked by root: the ticket was closed"),
        (give_back, End.RETURNED, "given back by alice"),
        (lock_user, End.LOCKED, "user was locked by root: laptop stolen"),
        (lock_node, End.LOCKED, "node was locked by root: forensics"),
        (remove_node, End.REVOKED, "node was removed by root"),
        (disable, End.REVOKED, "disabled"),
        (retag, End.REVOKED, "tags changed"),
        (pass_the_window, End.WINDOW_ENDED, "end of the access window"),
        (lock_only, End.LOCKED, "user was locked"),
    ],
)
async def test_access_that_ends_takes_its_sessions_along(rig: Rig, act: Act, end: End, words: str) -> None:
    request_id = (await rig.world.ask("alice", "web-1")).life.id
    stays = [await rig.stay(request_id=request_id) for _ in range(3)]
    ids = [await stay.opened() for stay in stays]
    await act(rig.world, request_id)
    answered = time.monotonic()
    for stay in stays:
        await stay.over(PROMISED_SECONDS)
    assert time.monotonic() - answered < PROMISED_SECONDS
    for stay, session_id, node in zip(stays, ids, rig.nodes.sessions, strict=True):
        assert node.is_closed
        assert words in stay.client.notices()[-1]
        assert stay.client.exit is not None
        assert words in stay.client.exit.message
        session = await rig.ended(session_id)
        assert (session.end, session.end_message) == (end, stay.client.exit.message)


@pytest.mark.rule("R25")
async def test_sessions_of_others_go_on(rig: Rig) -> None:
    mine = (await rig.world.ask("alice", "web-1")).life.id
    theirs = (await rig.world.ask("bob", "web-1")).life.id
    going, other = await rig.stay(request_id=mine), await rig.stay(user="bob", request_id=theirs)
    await going.opened()
    await other.opened()
    await revoke(rig.world, mine)
    await going.over()
    for _ in range(3):
        await rig.watch.look()
        rig.watch.tick()
    assert not other.call.done()


@pytest.mark.alone
@pytest.mark.rule("R25")
async def test_what_another_replica_changed_is_seen_without_a_wake_up(rig: Rig) -> None:
    request_id = (await rig.world.ask("alice", "web-1")).life.id
    stay = await rig.stay(request_id=request_id)
    await stay.opened()
    rig.world.changes._waiting.clear()  # nobody is woken any more
    await revoke(rig.world, request_id)
    await stay.over(PROMISED_SECONDS)


@pytest.mark.rule("R25")
async def test_an_administrator_ends_a_session_and_the_user_reads_who_and_why(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    await rig.sessions.terminate(await rig.world.caller("root"), session_id, "maintenance")
    await stay.over()
    assert stay.client.notices() == ["This session was ended by root: maintenance"]
    session = await rig.ended(session_id)
    assert (session.end, session.terminated_by, session.terminate_reason) == (
        End.TERMINATED,
        "root",
        "maintenance",
    )
    assert "session.terminated" in await rig.world.events(session_id)
    with pytest.raises(Refused, match="SESSION_ENDED"):
        await rig.sessions.terminate(await rig.world.caller("root"), session_id, "")
    with pytest.raises(Refused, match="INVALID_FIELD"):  # the user's terminal would obey it
        await rig.sessions.terminate(await rig.world.caller("root"), session_id, "enough\x1b[2J")


@pytest.mark.rule("R32")
async def test_who_may_not_end_a_session_does_not(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    far = RoleGrant("user", "mallory", Role.NODE_ADMINISTRATOR, "other", "default")
    await rig.world.grant(far)
    before = await rig.world.rows()
    for who, kind in (("mallory", Kind.NOT_FOUND), ("bob", Kind.NOT_FOUND), ("ada", Kind.PERMISSION_DENIED)):
        with pytest.raises(Refused) as caught:
            await rig.sessions.terminate(await rig.world.caller(who), session_id, "")
        assert caught.value.kind is kind
    with pytest.raises(Refused, match="SESSION_NOT_FOUND"):
        await rig.sessions.terminate(await rig.world.caller("root"), f"s-{0:020x}", "")
    assert await rig.world.rows() == before
    assert not stay.call.done()


@pytest.mark.rule("R26")
@pytest.mark.parametrize(
    ("wanted", "end", "words"),
    [
        ({"maximum_duration_minutes": 30}, End.MAXIMUM_DURATION, "maximum duration of 30 minutes"),
        ({"idle_timeout_minutes": 30}, End.IDLE, "nothing happened in it for 30 minutes"),
    ],
)
async def test_durations_of_the_preferences(rig: Rig, wanted: dict[str, int], end: End, words: str) -> None:
    await rig.prefer(**{"idle_timeout_minutes": 0, **wanted})
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.world.clock.advance(minutes=29, seconds=50)
    rig.watch.tick()
    assert not stay.call.done()
    rig.world.clock.advance(seconds=10)
    await stay.over()
    assert words in stay.client.notices()[-1]
    assert (await rig.ended(session_id)).end is end


@pytest.mark.rule("R26")
async def test_output_keeps_a_session_from_being_idle(rig: Rig) -> None:
    await rig.prefer(idle_timeout_minutes=10)
    stay = await rig.stay()
    await stay.opened()
    for _ in range(4):
        rig.world.clock.advance(minutes=9)
        rig.node().say(b".")
        rig.watch.tick()
    assert not stay.call.done()
    rig.world.clock.advance(minutes=10)
    await stay.over()


@pytest.mark.rule("R25")
async def test_warnings_before_the_window_ends(rig: Rig) -> None:
    await rig.prefer(idle_timeout_minutes=0)
    stay = await rig.stay()
    await stay.opened()
    rig.world.clock.advance(minutes=55, seconds=0.5)
    await until(stay.client.notices)
    assert re.search(r" in [45] minutes\b", stay.client.notices()[0])  # real time passes as well
    rig.world.clock.advance(minutes=4)
    await until(lambda: len(stay.client.notices()) == 2)
    assert re.search(r" in (1 minute|[345]\d seconds)\b", stay.client.notices()[1])
    rig.world.clock.advance(minutes=1)
    await stay.over()


@pytest.mark.rule("R25")
async def test_a_clock_set_back_does_not_keep_a_session(rig: Rig) -> None:
    await rig.prefer(idle_timeout_minutes=0)
    stay = await rig.stay()
    await stay.opened()
    rig.world.clock.jump(days=-1)
    rig.watch.tick()
    assert not stay.call.done()
    rig.world.clock.advance(hours=1)
    await stay.over()


class Blind:
    """A database whose reads fail."""

    def __call__(self) -> AbstractAsyncContextManager[object]:
        raise OSError("the disk is gone")


@pytest.mark.rule("R25")
async def test_a_gateway_that_sees_nothing_any_more_ends_its_sessions(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    with monkeypatch.context() as patch:
        patch.setattr(rig.world.database, "read", Blind())
        # Time passes in steps, as it does for a process that lives; what is skipped at once is a standstill.
        for _ in range(int(STALE_SECONDS) * 2 - 2):
            rig.world.clock.advance(seconds=0.5)
            rig.watch.tick()
        assert not stay.call.done()
        for _ in range(4):
            rig.world.clock.advance(seconds=0.5)
            rig.watch.tick()
        await stay.over()
    assert "cannot see" in stay.client.notices()[-1]
    assert (await rig.ended(session_id)).end is End.GATEWAY_STOPPED


async def test_a_process_that_stood_still_looks_before_it_judges(rig: Rig) -> None:
    stay = await rig.stay()
    await stay.opened()
    rig.world.clock.advance(seconds=60)
    rig.watch.tick()
    await rig.watch.look()
    rig.watch.tick()
    assert not stay.call.done()


@pytest.mark.rule("R25")
async def test_a_session_without_a_record_ends(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()

    async def end_the_row(tx: Transaction) -> None:
        await tx.connection.execute(
            tables.sessions.update()
            .where(tables.sessions.c.id == session_id)
            .values(ended_at=rig.world.clock(), end="EXITED", end_message="")
        )

    async with rig.world.database.transaction() as tx:
        await end_the_row(tx)
    await stay.over()
    assert "records say that it is over" in stay.client.notices()[-1]


async def test_listing_shows_the_own_sessions_and_those_one_may_read(rig: Rig) -> None:
    world = rig.world
    mine = [await rig.stay(), await rig.stay()]
    ids = [await stay.opened() for stay in mine]
    other = await rig.stay(user="bob")
    other_id = await other.opened()
    mine[0].call.cancel()
    await rig.ended(ids[0])

    async def seen(who: str, wanted: sessions.Filter = EVERYTHING) -> set[str]:
        found, more = await rig.sessions.find(await world.caller(who), wanted, 100)
        assert not more
        return {session.id for session in found}

    assert await seen("alice") == set(ids)
    assert await seen("bob") == {other_id}
    assert await seen("ada") == {*ids, other_id}
    assert await seen("mallory") == set()
    assert await seen("alice", sessions.Filter(live_only=True)) == {ids[1]}
    assert await seen("ada", sessions.Filter(user_id="bob", node="web-1")) == {other_id}
    assert await seen("ada", sessions.Filter(account="other")) == set()
    first, more = await rig.sessions.find(await world.caller("ada"), sessions.Filter(), 2)
    assert more
    last = first[-1]
    rest, more = await rig.sessions.find(
        await world.caller("ada"), sessions.Filter(), 2, (last.started_at, last.id)
    )
    assert not more
    assert {session.id for session in (*first, *rest)} == {*ids, other_id}


async def test_the_watch_survives_a_failing_look(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = (await rig.world.ask("alice", "web-1")).life.id
    stay: Stay = await rig.stay(request_id=request_id)
    await stay.opened()
    with monkeypatch.context() as patch:
        patch.setattr(rig.world.database, "read", Blind())
        rig.world.changes.publish("sessions")
        await asyncio.sleep(0.1)
    await revoke(rig.world, request_id)
    await stay.over()


async def test_the_watch_stops_though_something_changes_at_that_moment(rig: Rig) -> None:
    watching = asyncio.create_task(rig.watch.run())
    await asyncio.sleep(0.1)
    rig.world.changes.publish("sessions")
    await asyncio.sleep(0)
    watching.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(watching, return_exceptions=True)

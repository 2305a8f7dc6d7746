"""Sessions that nobody is in, or never was, and what ends them (R25)."""

import asyncio
import time

import pytest

from gateway.nodes.ports import Exited
from gateway.sessions import pump
from gateway.sessions.model import End
from gateway.store import tables
from tests.gateway.sessions.client import data, hangup, until
from tests.gateway.sessions.conftest import GRACE, Rig
from tests.gateway.sessions.test_lifecycle import recorded_output
from tests.gateway.sessions.test_watch import PROMISED_SECONDS, Act, give_back, lock_node, lock_user, retag, revoke

pytestmark = pytest.mark.usefixtures("keeping")


@pytest.mark.parametrize("how", ["not asked for", "no agent"])
async def test_other_sessions_end_with_their_call(rig: Rig, how: str) -> None:
    if how == "no agent":
        async with rig.world.database.transaction() as tx:
            await rig.world.set(tx.connection, tables.nodes, rig.kept.node_id, connector="ssh")
    stay = await rig.stay(resumable=how == "no agent")
    session_id = await stay.opened()
    assert stay.client.frames[0].opened.grace_seconds == 0
    stay.client.vanish()
    assert (await rig.ended(session_id)).end is End.CLIENT_GONE
    assert (await (await rig.back(session_id)).refused()).reason == "SESSION_ENDED"
    stay = await rig.stay(resumable=how == "no agent")
    session_id = await stay.opened()
    assert (await (await rig.back(session_id)).refused()).reason == "SESSION_NOT_RESUMABLE"
    assert not stay.call.done()


@pytest.mark.rule("R25")
async def test_nobody_comes_back(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    rig.world.clock.advance(seconds=GRACE - 60)  # real time passes as well
    rig.watch.tick()
    assert (await rig.session(session_id)).ended_at is None
    rig.process().say(b"until the end")
    rig.world.clock.advance(seconds=60)
    session = await rig.ended(session_id)
    assert (session.end, session.end_message) == (
        End.CLIENT_GONE,
        "The client did not come back within 5 minutes.",
    )
    assert rig.process().is_killed
    await rig.recorded(session_id)
    assert await recorded_output(rig, session_id) == b"until the end"
    assert (await (await rig.back(session_id)).refused()).reason == "SESSION_ENDED"


async def test_a_client_that_leaves_for_good_ends_the_session_at_once(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    stay.client.say(hangup())
    await stay.over()
    assert (await rig.ended(session_id)).end is End.CLIENT_GONE
    assert rig.process().is_killed


async def test_a_client_that_vanishes_before_it_knows_its_session(rig: Rig) -> None:
    rig.kept.answers.clear()
    stay = await rig.stay(resumable=True)
    await until(rig.lifecycle._calls.__len__)
    await asyncio.sleep(0.02)
    stay.call.cancel()
    rig.kept.answers.set()
    while not (listed := await rig.all_sessions()):
        await asyncio.sleep(0.005)
    assert (await rig.ended(listed[0].id)).end is End.CLIENT_GONE
    assert rig.process().is_killed


@pytest.mark.rule("R25")
async def test_a_locked_user_does_not_come_back(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    token = await rig.token("alice", (await rig.session(session_id)).request_id)
    async with rig.world.database.transaction() as tx:
        await rig.world.set(tx.connection, tables.users, "alice", locked_at=rig.world.clock())
    refused = await (await rig.back(session_id, token=token)).refused()
    assert refused.reason in {"USER_LOCKED", "SESSION_ENDED"}  # the watch may have been there before
    assert (await rig.ended(session_id)).end is End.LOCKED


@pytest.mark.alone
@pytest.mark.rule("R25")
@pytest.mark.parametrize(
    ("act", "end"),
    [
        (revoke, End.REVOKED),
        (give_back, End.RETURNED),
        (lock_user, End.LOCKED),
        (lock_node, End.LOCKED),
        (retag, End.REVOKED),
    ],
)
async def test_access_that_ends_takes_sessions_along_that_nobody_is_in(rig: Rig, act: Act, end: End) -> None:
    request_id = (await rig.world.ask("alice", "web-1")).life.id
    stay = await rig.stay(request_id=request_id, resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    rig.process().say(b"recorded")
    await act(rig.world, request_id)
    answered = time.monotonic()
    await until(lambda: rig.process().is_killed, PROMISED_SECONDS)
    session = await rig.ended(session_id)
    assert time.monotonic() - answered < PROMISED_SECONDS
    assert session.end is end
    await rig.recorded(session_id)
    assert await recorded_output(rig, session_id) == b"recorded"
    assert not rig.watch.live


@pytest.mark.rule("R25")
async def test_windows_administrators_and_idleness_end_what_nobody_is_in(rig: Rig) -> None:
    await rig.prefer(idle_timeout_minutes=4)
    for how, end in (("window", End.WINDOW_ENDED), ("terminate", End.TERMINATED), ("idle", End.IDLE)):
        stay = await rig.stay(resumable=True)
        session_id = await stay.opened()
        if how == "window":
            for _ in range(20):
                rig.world.clock.advance(minutes=3 - 0.01)
                rig.process().say(b".")
        await stay.gone()
        match how:
            case "window":
                rig.world.clock.advance(minutes=1)
            case "terminate":
                await rig.sessions.terminate(await rig.world.caller("root"), session_id, "maintenance")
            case "idle":
                rig.world.clock.advance(minutes=4)
        session = await rig.ended(session_id)
        assert session.end is end
        assert rig.process().is_killed


async def test_how_it_ended_waits_no_longer_than_the_grace(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    rig.process().exits(Exited(7))
    rig.world.clock.advance(seconds=GRACE)
    assert (await rig.ended(session_id)).end is End.EXITED


async def test_a_client_that_does_not_say_that_it_knows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "HANGUP_SECONDS", 0.05)
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().exits(Exited(0))
    await stay.over()
    assert (await rig.ended(session_id)).end is End.EXITED
    assert rig.process().is_forgotten


async def test_who_is_not_there_counts(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    await stay.opened()
    await stay.gone()
    rig.lifecycle._capacity = 1
    assert (await (await rig.stay(resumable=True)).refused()).reason == "TOO_MANY_SESSIONS"
    back = await rig.back(stay.client.session_id)
    await back.opened()


async def test_broken_frames_end_a_session_that_could_be_resumed(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    stay.client.say(data(b"x", 17))
    assert (await stay.refused()).reason == "BROKEN_FRAMES"
    assert (await rig.ended(session_id)).end is End.CLIENT_GONE


@pytest.mark.rule("R27")
async def test_a_recording_that_fails_ends_a_strict_session_that_nobody_is_in(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    rig.watch.live[0].recording.fail("no space left on device")  # type: ignore[union-attr]  # it is recorded
    assert (await rig.ended(session_id)).end is End.RECORDING_FAILED
    assert rig.process().is_killed

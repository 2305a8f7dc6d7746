"""Clients that vanish and come back: nothing is missing, repeated or open to others (R24, R27)."""

from dataclasses import replace

import pytest

from gateway.errors import Kind
from gateway.nodes.ports import Exited
from gateway.sessions.model import End, Resuming
from gateway.store import sessions
from gateway.store.preferences import RecordingMode
from recorder.model import Durability
from tests.gateway.sessions.client import data, eof, hangup, until, window
from tests.gateway.sessions.conftest import GRACE, Rig, Stay
from tests.gateway.sessions.test_lifecycle import recorded_output

pytestmark = pytest.mark.usefixtures("keeping")


async def test_a_client_comes_back_and_nothing_is_missing_or_repeated(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    opened = stay.client.frames[0].opened
    assert (opened.grace_seconds, opened.output_offset, opened.input_offset) == (GRACE, 0, 0)
    assert rig.process().request.grace_seconds == GRACE
    stay.client.say(data(b"make\n"))
    rig.process().say(b"one\n")
    await until(lambda: stay.client.output() == b"one\n" and rig.process().input == b"make\n")
    rig.process().say(b"lost on the way\n")
    await until(lambda: len(stay.client.output()) == 20)
    await stay.gone()
    rig.process().say(b"nobody was there\n", stderr=True)
    assert (await rig.session(session_id)).ended_at is None

    back = await rig.back(session_id, 4, terminal=(100, 30))
    assert await back.opened() == session_id
    opened = back.client.frames[0].opened
    assert (opened.grace_seconds, opened.output_offset, opened.input_offset) == (GRACE, 4, 5)
    assert not opened.input_ended
    await until(lambda: back.client.output() + back.client.errors() == b"lost on the way\nnobody was there\n")
    await until(lambda: rig.process().size == (100, 30))
    back.client.say(data(b"exit\n", 5))
    await until(lambda: rig.process().input == b"make\nexit\n")
    rig.process().exits(Exited(3))
    await until(lambda: back.client.exit)
    assert not back.call.done()
    back.client.say(hangup())
    await back.over()
    assert back.client.exit is not None
    assert back.client.exit.status == 3
    session = await rig.ended(session_id)
    assert session.end is End.EXITED
    assert rig.process().is_forgotten
    assert not rig.process().is_killed
    done = await rig.recorded(session_id)
    assert (done.output_bytes, done.input_bytes, done.gaps) == (37, 10, 0)
    assert await recorded_output(rig, session_id) == b"one\nlost on the way\n"
    events = await rig.world.events(session_id)
    assert [each for each in events if each.startswith("session.")] == [
        "session.started",
        "session.detached",
        "session.resumed",
        "session.ended",
    ]
    assert rig.budget.used == 0
    assert rig.lifecycle.keeping.unattended == 0


async def test_who_has_nothing_gets_what_is_kept(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"written already, still on the screen")
    await until(lambda: len(stay.client.output()) == 36)
    stay.client.say(window(17))
    await until(lambda: rig.process().oldest == 17)
    await stay.gone()
    back = await rig.back(session_id)
    await until(lambda: len(back.client.frames) == 2)
    assert back.client.frames[0].opened.output_offset == 17
    assert (back.client.frames[1].data.offset, back.client.frames[1].data.payload) == (17, b"still on the screen")


async def test_credit_acknowledges_no_more_than_was_sent(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    await stay.opened()
    stay.client.say(window(1 << 20), window(1))
    rig.process().say(b"x")
    await until(lambda: stay.client.output() == b"x")
    assert rig.process().oldest == 0
    stay.client.say(window(500))
    await until(lambda: rig.process().oldest == 1)


async def test_input_that_was_taken_is_not_taken_again(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    stay.client.say(data(b"rm -r build\n"), eof())
    await until(lambda: rig.process().eof)
    await stay.gone()
    back = await rig.back(session_id, 0)
    await back.opened()
    opened = back.client.frames[0].opened
    assert (opened.input_offset, opened.input_ended) == (12, True)
    assert rig.process().input == b"rm -r build\n"


async def test_half_a_call_that_is_closed_is_no_end_of_input(rig: Rig) -> None:
    """That is how a connection can break, and a shell would end."""
    stay = await rig.stay(resumable=True)
    await stay.opened()
    stay.client.hang_up()
    rig.process().say(b"x")
    await until(lambda: stay.client.output() == b"x")
    assert not rig.process().eof


async def test_the_later_call_wins(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"abc")
    await until(lambda: stay.client.output() == b"abc")
    stay.client.reads.clear()  # it hangs
    rig.process().say(b"def")
    later = await rig.back(session_id, 3)
    await later.opened()
    # Which of those that come together is the last one, the database has a say in.
    calls = [stay, later, *[await rig.back(session_id, 3) for _ in range(3)]]
    await until(lambda: sum(each.call.done() for each in calls) == 4)
    last = next(each for each in calls if not each.call.done())
    assert last not in (stay, later)
    for each in calls:
        if each is not last:
            refused = await each.refused()
            assert (refused.kind, refused.reason) == (Kind.FAILED_PRECONDITION, "SESSION_TAKEN_OVER")
    await until(lambda: last.client.output() == b"def")
    assert "session.detached" not in await rig.world.events(session_id)
    last.client.say(data(b"still here"))
    await until(lambda: rig.process().input == b"still here")
    rig.process().exits(Exited(0))
    await until(lambda: last.client.exit)
    last.client.say(hangup())
    await last.over()


@pytest.mark.rule("R24")
async def test_who_may_not_come_back_leaves_the_session_as_it_is(rig: Rig) -> None:
    world = rig.world
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"abcdef")
    await until(lambda: len(stay.client.output()) == 6)
    stay.client.say(window(2))
    await until(lambda: rig.process().oldest == 2)
    session = await rig.session(session_id)
    token = await rig.token("alice", session.request_id)
    before = await world.rows()

    assert (await (await rig.back(session_id, user="bob", token=token)).refused()).reason == "SESSION_NOT_FOUND"
    other_key = await world.caller("alice", "key-2")
    thief = Stay(rig, other_key, Resuming(session_id, token, 1))
    assert (await thief.refused()).reason == "TOKEN_OTHER_KEY"
    for wrong in (1, 7, (1 << 64) - 1):
        refused = await (await rig.back(session_id, wrong, token=token)).refused()
        assert (refused.kind, refused.reason) == (Kind.FAILED_PRECONDITION, "OFFSET_NOT_KEPT")
    unknown = Stay(rig, await world.caller("alice"), Resuming(f"s-{0:020x}", token, 1))
    assert (await unknown.refused()).reason == "SESSION_NOT_FOUND"
    after = await world.rows()
    told = after.pop("events")[len(before.pop("events")) :]
    assert [row[1] for row in told] == ["access_token.refused"]
    assert after == before

    second = (await world.ask("alice", "web-1")).life.id
    elsewhere = await rig.token("alice", second)
    assert (await (await rig.back(session_id, token=elsewhere)).refused()).reason == "TOKEN_OTHER_REQUEST"
    assert not stay.call.done()
    assert not rig.process().is_killed


async def test_a_session_of_another_gateway_is_asked_for_there(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    theirs = replace(await rig.session(session_id), id=f"s-{1:020x}", replica="r-2")
    async with rig.world.database.transaction() as tx:
        await sessions.add(tx.connection, theirs)
    refused = await (await rig.back(theirs.id)).refused()
    assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "SESSION_ELSEWHERE")


async def test_how_it_ended_waits_for_the_client(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"abc")
    await until(lambda: stay.client.output() == b"abc")
    await stay.gone()
    rig.process().say(b"def")
    rig.process().exits(Exited(7))
    assert (await rig.session(session_id)).ended_at is None
    for _ in range(3):  # it breaks again before the client has said that it knows
        back = await rig.back(session_id, 3)
        await until(lambda: back.client.exit)  # noqa: B023 - awaited within the turn
        assert back.client.output() == b"def"
        assert back.client.exit is not None
        assert back.client.exit.status == 7
        await back.gone()
    for _ in range(2):  # and once with nothing that was missed
        back = await rig.back(session_id, 6)
        await until(lambda: back.client.exit)  # noqa: B023 - awaited within the turn
        if _ == 0:
            await back.gone()
    back.client.say(hangup())
    await back.over()
    assert (await rig.ended(session_id)).end is End.EXITED
    assert rig.process().is_forgotten
    done = await rig.recorded(session_id)
    assert (done.output_bytes, done.gaps) == (6, 0)


@pytest.mark.rule("R27")
async def test_best_effort_is_resumed_without_its_recording(rig: Rig) -> None:
    await rig.prefer(recording=RecordingMode.BEST_EFFORT)
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"abc")
    await until(lambda: stay.client.output() == b"abc")
    rig.watch.live[0].recording.fail("no space left on device")  # type: ignore[union-attr]  # it is recorded
    await stay.gone()
    rig.process().say(b"def")
    back = await rig.back(session_id, 2)
    await until(lambda: back.client.output() == b"cdef")
    assert not back.client.frames[0].opened.recorded


async def test_a_slow_client_that_vanishes_holds_nothing_up(rig: Rig) -> None:
    stay = await rig.stay(resumable=True, credit=1)
    session_id = await stay.opened()
    rig.process().say(bytes(1 << 20))
    await until(lambda: rig.budget.used)
    await stay.gone()
    assert rig.budget.used == 0
    await until(lambda: rig.watch.live[0].relay.recorded.output == 1 << 20)
    back = await rig.back(session_id, 1)
    await until(lambda: len(back.client.output()) == (1 << 20) - 1)


async def test_under_store_the_node_keeps_what_the_store_has_not(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    await stay.opened()
    (live,) = rig.watch.live
    assert live.recording is not None
    live.recording._durability = Durability.STORE
    rig.process().say(b"seen and recorded")
    await until(lambda: stay.client.output() == b"seen and recorded")
    stay.client.say(window(17))
    rig.process().say(b", and more")
    await until(lambda: len(stay.client.output()) == 27)
    stay.client.say(window(5))
    live.relay.pass_time()
    assert rig.process().oldest == 0
    live.recording.hand_over()
    await until(lambda: rig.process().oldest == 22)  # what the client has confirmed, for the store has it all

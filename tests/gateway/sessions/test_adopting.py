"""Gateways that die or are stopped, and what their successors do with the sessions that nodes kept (R25, R27)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import Kind
from gateway.nodes.ports import Exited
from gateway.sessions import adopting, keeping
from gateway.sessions.flow import INPUT_WINDOW
from gateway.sessions.model import End, RecordingStatus
from gateway.store import recording_heads, sessions, tables
from gateway.store.preferences import RecordingMode
from recorder.errors import RecordingFailed
from tests.gateway.access.world import WEB, World
from tests.gateway.sessions.client import data, eof, hangup, until
from tests.gateway.sessions.conftest import GRACE, Rig, Stay
from tests.gateway.sessions.test_lifecycle import recorded_output
from tests.gateway.sessions.test_watch import Act, lock_user, pass_the_window, revoke


class Gateways:
    """One after the other, on one database, one spool and one node."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._stack = AsyncExitStack()
        self.rig = Rig(world, folder)

    async def start(self) -> Rig:
        await self._stack.enter_async_context(self.rig.running())
        return self.rig

    async def next(self, *, killed: bool = True) -> Rig:
        if killed:
            await self.rig.die()
        await self._stack.aclose()
        self.rig = Rig(self.world, self._folder, kept=self.rig.kept)
        return await self.start()

    async def named(self, *session_ids: str, node_id: str = WEB) -> None:
        """The node connects."""
        await self.rig.adoption.held(node_id, session_ids)

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def gateways(world: World, tmp_path: Path) -> AsyncIterator[Gateways]:
    made = Gateways(world, tmp_path)
    rig = await made.start()
    await rig.prefer()
    await rig.with_agent()
    yield made
    await made.aclose()


async def begun(rig: Rig, said: bytes = b"abc", typed: bytes = b"vi\n") -> tuple[Stay, str]:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    stay.client.say(data(typed))
    rig.process().say(said)
    await until(lambda: stay.client.output() == said and rig.process().input == typed)
    return stay, session_id


@pytest.mark.rule("R27")
@pytest.mark.parametrize("killed", [True, False])
async def test_a_session_outlives_its_gateway(gateways: Gateways, killed: bool) -> None:
    stay, session_id = await begun(gateways.rig)
    process = gateways.rig.process()
    rig = await gateways.next(killed=killed)
    if not killed:
        refused = await stay.refused()
        assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "GATEWAY_STOPPING")
    assert not process.is_killed
    found, _ = await rig.sessions.find(await rig.world.caller("alice"), sessions.Filter(live_only=True), 10)
    assert [session.id for session in found] == [session_id]
    process.say(b"nobody was there")
    process.say(b"!", stderr=True)
    await gateways.named(session_id)
    await until(lambda: rig.watch.live and rig.watch.live[0].relay.recorded.output == 20)

    back = await rig.back(session_id, 1)
    await back.opened()
    opened = back.client.frames[0].opened
    assert (opened.output_offset, opened.input_offset, opened.recorded) == (1, 3, True)
    back.client.say(data(b":q\n", 3))
    await until(lambda: len(back.client.output() + back.client.errors()) == 19 and process.input == b"vi\n:q\n")
    process.exits(Exited(0))
    await until(lambda: back.client.exit)
    back.client.say(hangup())
    await back.over()
    assert (await rig.ended(session_id)).end is End.EXITED
    done = await rig.recorded(session_id)
    assert (done.output_bytes, done.input_bytes, done.gaps) == (20, 6, 0)
    assert await recorded_output(rig, session_id) == b"abcnobody was there"
    assert process.is_forgotten


async def test_input_that_was_recorded_and_never_arrived_is_sent_again(gateways: Gateways) -> None:
    stay, session_id = await begun(gateways.rig)
    process = gateways.rig.process()
    gateways.rig.kept.sessions[-1].cut()
    stay.client.say(data(b"lost on the way", 3), eof())
    await until(lambda: gateways.rig.watch.live[0].relay.recorded.input_ended)
    rig = await gateways.next()
    await gateways.named(session_id)
    back = await rig.back(session_id, 3)
    await back.opened()
    opened = back.client.frames[0].opened
    assert (opened.input_offset, opened.input_ended, opened.credit) == (3, False, INPUT_WINDOW)
    back.client.say(data(b"lost on ", 3), data(b"the way, and more", 11), eof())
    await until(lambda: process.eof)
    assert process.input == b"vi\nlost on the way, and more"
    process.exits(Exited(0))
    await until(lambda: back.client.exit)
    back.client.say(hangup())
    assert (await rig.ended(session_id)).end is End.EXITED
    done = await rig.recorded(session_id)
    assert (done.input_bytes, done.gaps) == (28, 0)


async def test_an_exit_is_told_by_the_next_gateway_and_recorded_once(gateways: Gateways) -> None:
    stay, session_id = await begun(gateways.rig)
    process = gateways.rig.process()
    process.exits(Exited(4))
    await until(lambda: stay.client.exit)
    for _ in range(3):
        rig = await gateways.next()
        await gateways.named(session_id)
    back = await rig.back(session_id, 2)
    await until(lambda: back.client.exit)
    assert back.client.output() == b"c"
    back.client.say(hangup())
    await rig.recorded(session_id)
    playback = await rig.library.play(await rig.world.caller("ada"), session_id)
    kinds = [event.kind.name async for event in playback.events()]
    assert kinds.count("EXIT") == 1


async def test_a_client_that_is_back_before_the_node(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    monkeypatch.setattr(keeping, "BACK_SECONDS", 0.05)
    refused = await (await rig.back(session_id, 3)).refused()
    assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "NODE_UNREACHABLE")
    monkeypatch.setattr(keeping, "BACK_SECONDS", 60)
    back = await rig.back(session_id, 3)
    await asyncio.sleep(0.02)
    assert not back.client.frames
    await gateways.named(session_id)
    await back.opened()


async def test_of_clients_that_wait_for_the_node_the_latest_is_served(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    earlier = [await rig.back(session_id, 3)]
    for _ in range(20):
        later = await rig.back(session_id, 3)
        assert (await earlier[-1].refused()).reason == "SESSION_TAKEN_OVER"
        earlier.append(later)
    await gateways.named(session_id)
    await earlier[-1].opened()


@pytest.mark.rule("R25")
@pytest.mark.parametrize(
    ("act", "end"), [(revoke, End.REVOKED), (lock_user, End.LOCKED), (pass_the_window, End.WINDOW_ENDED)]
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_access_that_ended_meanwhile(gateways: Gateways, act: Act, end: End, when: str) -> None:
    """Before the start, or while the node is not back yet."""
    world = gateways.world
    request_id = (await world.ask("alice", "web-1")).life.id
    stay = await gateways.rig.stay(request_id=request_id, resumable=True)
    session_id = await stay.opened()
    process = gateways.rig.process()
    process.say(b"abc")
    await until(lambda: stay.client.output() == b"abc")
    if when == "before":
        await gateways.rig.die()
        await act(world, request_id)
        rig = await gateways.next(killed=False)
        await gateways.named(session_id)
    else:
        rig = await gateways.next()
        await act(world, request_id)
    assert (await rig.ended(session_id)).end is end
    await until(lambda: process.is_killed)
    assert (await rig.recorded(session_id)).output_bytes == 3
    await until(lambda: not rig.watch.live)
    rig.kept.ended.clear()
    await gateways.named(session_id)  # the node had not heard of it
    assert rig.kept.ended == [session_id]


@pytest.mark.rule("R25")
async def test_an_administrator_ends_a_session_that_is_not_back_yet(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    await rig.sessions.terminate(await rig.world.caller("root"), session_id, "maintenance")
    session = await rig.ended(session_id)
    assert (session.end, session.terminated_by) == (End.TERMINATED, "root")


async def test_a_session_that_no_node_brings_back(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    waiting = await rig.back(session_id, 3)
    rig.world.clock.advance(seconds=GRACE - 60)  # real time passes as well
    await asyncio.sleep(0.6)
    assert (await rig.session(session_id)).ended_at is None
    assert rig.lifecycle.keeping.unattended == 1
    rig.world.clock.advance(seconds=60)
    assert (await rig.ended(session_id)).end is End.NODE_GONE
    assert (await waiting.refused()).reason == "SESSION_ENDED"
    done = await rig.recorded(session_id)
    assert (done.output_bytes, done.status) == (3, RecordingStatus.COMPLETE)
    assert rig.lifecycle.keeping.unattended == 0


@pytest.mark.rule("R25")
@pytest.mark.parametrize("where", ["its recording goes on", "its node is asked"])
async def test_a_session_that_ends_while_it_is_adopted(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    _, session_id = await begun(gateways.rig)
    process = gateways.rig.process()
    rig = await gateways.next()
    owner, step = (recording_heads, "put") if where == "its recording goes on" else (rig.kept, "adopt")
    takes, reached, go_on = getattr(owner, step), asyncio.Event(), asyncio.Event()

    async def slowly(*given: object, **more: object) -> object:
        reached.set()
        await go_on.wait()
        return await takes(*given, **more)

    monkeypatch.setattr(owner, step, slowly)
    with capture_logs() as logs:
        await gateways.named(session_id)
        await reached.wait()
        adopting = rig.adoption._expected[session_id].adopting
        assert adopting is not None
        rig.world.clock.advance(seconds=GRACE)
        await until(lambda: not rig.lifecycle.keeping._expected)
        go_on.set()
        await adopting
        assert (await rig.ended(session_id)).end in {End.NODE_GONE, End.CLIENT_GONE}  # both are missing too long
        assert (await rig.recorded(session_id)).output_bytes == 3
        await until(lambda: process.is_killed and not rig.watch.live and not rig.recorder._live)
    assert [each for each in logs if each["log_level"] == "error"] == []


@pytest.mark.parametrize("was_back", [True, False])
async def test_a_node_that_connects_while_its_gateway_stops_keeps_its_sessions(
    gateways: Gateways, was_back: bool
) -> None:
    _, session_id = await begun(gateways.rig)
    rig = gateways.rig if was_back else await gateways.next()
    await rig.adoption.stop()
    await rig.lifecycle.stop(5)
    await gateways.named(session_id)
    assert not rig.process().is_killed
    await gateways.next(killed=False)
    await gateways.named(session_id)
    back = await gateways.rig.back(session_id, 3)
    await back.opened()
    gateways.rig.process().say(b"d")
    await until(lambda: back.client.output() == b"d")
    back.client.say(hangup())
    await back.over()


async def test_a_gateway_that_dies_before_the_session_began(gateways: Gateways) -> None:
    """Its row is there, and nothing else."""
    rig = gateways.rig
    rig.kept.answers.clear()
    stay = await rig.stay(resumable=True)
    while not (listed := await rig.all_sessions()):
        await asyncio.sleep(0.005)
    rig.kept.answers.set()
    stay.call.cancel()
    rig = await gateways.next()
    session_id = listed[0].id
    if (await rig.session(session_id)).ended_at is None:
        rig.world.clock.advance(seconds=GRACE)
    assert (await rig.ended(session_id)).end in {End.NODE_GONE, End.CLIENT_GONE}


async def test_names_are_not_believed(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    async with gateways.world.database.transaction() as tx:
        values = {"id": f"s-{1:020x}", "replica": "r-2"}
        row = (await tx.connection.execute(tables.sessions.select())).mappings().one()
        await tx.connection.execute(tables.sessions.insert().values(**{**row, **values}))
    rig = await gateways.next()
    other = WEB[:-1] + "b"
    ended: list[tuple[str, str]] = []
    rig.kept.end = lambda node_id, session_id: ended.append((node_id, session_id))  # type: ignore[method-assign]
    async with gateways.world.database.transaction() as tx:
        await gateways.world.set(tx.connection, tables.nodes, other, connector="agent")
    await gateways.named(session_id, f"s-{2:020x}", "nonsense", node_id=other)
    assert ended == [(other, session_id), (other, f"s-{2:020x}"), (other, "nonsense")]
    assert not rig.watch.live
    # Another gateway's may be there again soon.
    await gateways.named(f"s-{1:020x}")
    assert len(ended) == 3
    await gateways.named(session_id, session_id)
    await until(lambda: rig.watch.live)
    await gateways.named(session_id)
    await (await rig.back(session_id)).opened()


async def test_a_node_that_is_away_again_is_waited_for(gateways: Gateways) -> None:
    stay, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    rig.kept.is_away = True
    await gateways.named(session_id)
    await until(lambda: rig.watch.live)
    await asyncio.sleep(0.02)
    rig.kept.is_away = False
    await gateways.named(session_id)
    back = await rig.back(session_id, 3)
    await back.opened()
    rig.process().say(b"d")
    await until(lambda: back.client.output() == b"d")
    assert stay.call.done()


async def test_a_node_that_was_only_slow_is_tried_again(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, session_id = await begun(gateways.rig)
    monkeypatch.setattr(adopting, "_AGAIN_SECONDS", 0.01)
    rig = await gateways.next()
    rig.kept.is_away = True
    await gateways.named(session_id)
    await until(lambda: rig.watch.live)
    rig.kept.is_away = False
    await (await rig.back(session_id, 3)).opened()


async def test_a_gateway_stops_while_its_sessions_are_not_back(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    rig = await gateways.next(killed=False)
    rig.kept.is_away = True
    await gateways.named(session_id)
    await until(lambda: rig.watch.live)  # its recording goes on, its node is away again
    rig = await gateways.next(killed=False)
    rig.kept.is_away = False
    await gateways.named(session_id)
    await (await rig.back(session_id, 3)).opened()
    rig.process().exits(Exited(0))


async def test_what_a_node_keeps_does_not_fit(gateways: Gateways) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    rig.kept.processes[session_id].oldest = 4
    rig.kept.processes[session_id].say(b"more")
    await gateways.named(session_id)
    assert (await rig.ended(session_id)).end is End.NODE_GONE
    assert (await rig.recorded(session_id)).output_bytes == 3
    await until(lambda: rig.process().is_killed)


@pytest.mark.rule("R27")
async def test_a_recording_that_cannot_go_on(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    _, session_id = await begun(gateways.rig)
    rig = await gateways.next()
    resume = rig.recorder.resume
    failures = iter([RecordingFailed("no key"), RecordingFailed("no key")])

    async def failing(session_id: str) -> object:
        for failure in failures:
            raise failure
        return await resume(session_id)

    monkeypatch.setattr(rig.recorder, "resume", failing)
    await gateways.named(session_id)  # something is away: it is tried again
    await (await rig.back(session_id, 3)).opened()

    rig = await gateways.next()
    await rig.recorder.give_up(session_id)
    await gateways.named(session_id)
    session = await rig.ended(session_id)
    assert session.end is End.RECORDING_FAILED
    await until(lambda: rig.process().is_killed)


@pytest.mark.rule("R27")
async def test_an_unrecorded_session_ends_with_its_gateway(gateways: Gateways) -> None:
    await gateways.rig.prefer(recording=RecordingMode.BEST_EFFORT)
    stay, session_id = await begun(gateways.rig)
    gateways.rig.watch.live[0].recording.fail("disk full")  # type: ignore[union-attr]  # it is recorded
    gateways.rig.process().say(b"def")
    await until(lambda: stay.client.output() == b"abcdef")
    rig = await gateways.next(killed=False)
    assert (await rig.session(session_id)).end is End.GATEWAY_STOPPED
    await until(lambda: rig.process().is_killed)


async def test_limits_go_on_from_the_start_of_the_session(gateways: Gateways) -> None:
    await gateways.rig.prefer(maximum_duration_minutes=10)
    _, session_id = await begun(gateways.rig)
    gateways.world.clock.advance(minutes=4)
    rig = await gateways.next()
    await rig.prefer(maximum_duration_minutes=100)
    await gateways.named(session_id)
    back = await rig.back(session_id, 3)
    await back.opened()
    gateways.world.clock.advance(minutes=5, seconds=59)
    rig.watch.tick()
    assert not back.call.done()
    gateways.world.clock.advance(seconds=1)
    await back.over()
    assert (await rig.ended(session_id)).end is End.MAXIMUM_DURATION

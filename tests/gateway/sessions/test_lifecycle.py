"""From the first frame to the last entry: real database, gate and recorder, nodes in this process."""

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from gateway.access.tokens import new_token
from gateway.errors import Kind, Refused
from gateway.nodes.errors import NodeUnreachable, UpstreamFailed
from gateway.nodes.ports import Exited, UpstreamKind
from gateway.sessions import story
from gateway.sessions.model import End, Ending, RecordingStatus
from gateway.store import tables
from gateway.store.preferences import RecordingMode
from recorder.model import Kind as EventKind
from recorder.playback import Playback
from tests.gateway.access.world import WEB, World
from tests.gateway.sessions.client import data, until
from tests.gateway.sessions.conftest import REPLICA, Rig, Stay


async def replay(rig: Rig, session_id: str) -> Playback:
    return await rig.library.play(await rig.world.caller("ada"), session_id)


async def recorded_output(rig: Rig, session_id: str) -> bytes:
    playback = await replay(rig, session_id)
    return b"".join([event.payload async for event in playback.events() if event.kind is EventKind.OUTPUT])


@pytest.mark.rule("R24")
@pytest.mark.rule("R27")
async def test_a_whole_session(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    opened = stay.client.frames[0].opened
    assert (opened.node_id, opened.login, opened.recorded) == (WEB, "deploy", True)
    assert opened.ends_at.ToDatetime().hour == 10  # the auto-approved window is one hour from nine o'clock (R7)
    assert (await rig.session(session_id)).ended_at is None
    recording = await rig.recording(session_id)
    assert recording is not None
    assert recording.status is RecordingStatus.RECORDING

    stay.client.say(data(b"whoami\n"))
    await until(lambda: rig.node().input == b"whoami\n")
    rig.node().say(b"deploy\r\n")
    rig.node().exits(Exited(0))
    await stay.over()
    assert stay.client.output() == b"deploy\r\n"

    session = await rig.ended(session_id)
    assert (session.end, session.login, session.user_id, session.replica) == (
        End.EXITED,
        "deploy",
        "alice",
        REPLICA,
    )
    assert rig.node().is_closed
    done = await rig.recorded(session_id)
    assert (done.output_bytes, done.input_bytes, done.gaps) == (8, 7, 0)
    assert await recorded_output(rig, session_id) == b"deploy\r\n"
    assert await rig.world.events(session_id) == [
        "session.started",
        "session.ended",
        "recording.completed",
        "recording.played",
    ]


@pytest.mark.rule("R26")
async def test_the_node_gets_what_preferences_say(rig: Rig) -> None:
    await rig.prefer(shell_profile="cd /srv", maximum_duration_minutes=10)
    stay = await rig.stay()
    await stay.opened()
    request = rig.node().request
    assert (request.login, request.shell_profile, request.valid_seconds) == ("deploy", "cd /srv", 600)
    assert stay.client.frames[0].opened.ends_at.ToDatetime().minute == 10


@pytest.mark.rule("R26")
async def test_without_a_login_nothing_begins_and_nothing_is_written(rig: Rig) -> None:
    await rig.prefer(run_as="")
    token = await rig.token("alice", (await rig.world.ask("alice", "web-1")).life.id)
    before = await rig.world.rows()
    refusal = await (await rig.stay(token=token)).refused()
    assert (refusal.kind, refusal.reason) == (Kind.FAILED_PRECONDITION, "NO_LOGIN")
    assert "run-as" in refusal.what_to_do
    assert await rig.world.rows() == before
    assert not rig.nodes.dialling.is_set()


@pytest.mark.rule("R24")
async def test_without_a_valid_token_no_node_is_reached(rig: Rig) -> None:
    before = await rig.world.rows()
    refusal = await (await rig.stay(token=new_token())).refused()
    assert refusal.reason == "TOKEN_UNKNOWN"
    assert await rig.world.rows() == before
    assert not rig.nodes.dialling.is_set()


async def test_a_connector_that_is_not_there(rig: Rig) -> None:
    rig.connectors.clear()
    assert (await (await rig.stay()).refused()).reason == "CONNECTOR_UNAVAILABLE"
    assert await rig.all_sessions() == []


async def test_a_node_that_cannot_be_reached_or_refuses(rig: Rig) -> None:
    rig.nodes.refuses = NodeUnreachable("web-1 did not answer", "Check the network.")
    assert (await (await rig.stay()).refused()).reason == "NODE_UNREACHABLE"
    rig.nodes.refuses = None
    rig.nodes.refuses_start = UpstreamFailed("web-1 did not start the shell", "Look into its log.")
    assert (await (await rig.stay()).refused()).reason == "UPSTREAM_FAILED"
    for listed in await rig.all_sessions():
        session = await rig.ended(listed.id)
        assert (session.end, session.end_message[:5]) == (End.NODE_GONE, "web-1")
    assert rig.node().is_closed
    assert not rig.watch.live
    # A recording was opened for each, and each comes to its end.
    for listed in await rig.all_sessions():
        assert (await rig.recorded(listed.id)).output_bytes == 0


async def test_a_node_that_goes_half_way(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"half a li")
    rig.nodes.die()
    await stay.over()
    assert stay.client.output() == b"half a li"
    assert (await rig.ended(session_id)).end is End.NODE_GONE
    await rig.recorded(session_id)
    assert await recorded_output(rig, session_id) == b"half a li"


@pytest.mark.rule("R25")
@pytest.mark.parametrize("how", ["revoked", "returned", "locked", "expired", "terminated"])
async def test_a_session_whose_start_races_with_its_end_never_sees_a_byte(rig: Rig, how: str) -> None:
    """The window closes while the node is being dialled: the command does not even start."""
    world = rig.world
    request = (await world.ask("alice", "web-1")).life.id
    rig.nodes.answers.clear()
    stay = await rig.stay(request_id=request, kind=UpstreamKind.EXEC, command="rm -rf /")
    await rig.nodes.dialling.wait()
    match how:
        case "revoked":
            await world.requests.revoke(await world.caller("root"), request, "no more")
        case "returned":
            await world.requests.give_back(await world.caller("alice"), request)
        case "locked":
            async with world.database.transaction() as tx:
                await world.set(tx.connection, tables.users, "alice", locked_at=world.clock())
        case "expired":
            world.clock.advance(hours=1)
        case "terminated":
            (session,) = await rig.all_sessions()
            await rig.sessions.terminate(await world.caller("root"), session.id, "stop that")
    rig.nodes.answers.set()
    refusal = await stay.refused()
    assert refusal.reason == "ACCESS_ENDED"
    assert stay.client.frames == []
    assert not rig.node().is_started
    assert rig.node().is_closed
    (session,) = await rig.all_sessions()
    expected = {
        "revoked": End.REVOKED,
        "returned": End.RETURNED,
        "locked": End.LOCKED,
        "expired": End.WINDOW_ENDED,
        "terminated": End.TERMINATED,
    }
    assert (await rig.ended(session.id)).end is expected[how]


@pytest.mark.rule("R25")
async def test_a_start_that_races_with_nothing_comes_through(rig: Rig) -> None:
    rig.nodes.answers.clear()
    stay = await rig.stay(kind=UpstreamKind.EXEC, command="true")
    await rig.nodes.dialling.wait()
    rig.nodes.answers.set()
    await stay.opened()
    assert rig.node().is_started
    assert rig.node().request.command == "true"


async def test_a_client_that_vanishes_while_the_node_is_dialled(rig: Rig) -> None:
    rig.nodes.answers.clear()
    stay = await rig.stay()
    await rig.nodes.dialling.wait()
    stay.call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stay.over()
    rig.nodes.answers.set()
    (listed,) = await rig.all_sessions()
    assert (await rig.ended(listed.id)).end is End.CLIENT_GONE
    assert rig.node().is_closed
    await rig.recorded(listed.id)
    assert not rig.watch.live


async def test_a_client_that_vanishes_mid_line(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    stay.client.say(data(b"rm -r"))
    await until(lambda: rig.node().input)
    stay.call.cancel()
    assert (await rig.ended(session_id)).end is End.CLIENT_GONE
    assert rig.node().is_closed
    assert (await rig.recorded(session_id)).input_bytes == 5


async def test_broken_frames_end_that_session_only(rig: Rig) -> None:
    request = (await rig.world.ask("alice", "web-1")).life.id
    good, bad = await rig.stay(request_id=request), await rig.stay(request_id=request)
    await good.opened()
    bad_id = await bad.opened()
    bad.client.say(data(b"x", offset=17))
    assert (await bad.refused()).reason == "BROKEN_FRAMES"
    session = await rig.ended(bad_id)
    assert session.end is End.CLIENT_GONE
    assert "offset 17" in session.end_message
    assert not good.call.done()


async def test_twenty_at_once_are_kept_apart(rig: Rig) -> None:
    request = (await rig.world.ask("alice", "web-1")).life.id
    stays, ids = [], []
    for _ in range(20):  # one after the other: each has a token of its own, and only the newest few are kept
        stays.append(await rig.stay(request_id=request, kind=UpstreamKind.EXEC, command="cat"))
        ids.append(await stays[-1].opened())
    nodes = {node.request.session_id: node for node in rig.nodes.sessions}
    words = {session_id: secrets.token_bytes(20_000) for session_id in ids}
    for session_id, stay in zip(ids, stays, strict=True):
        stay.client.say(data(words[session_id]))
    await until(lambda: all(len(node.input) == 20_000 for node in nodes.values()))
    for node in nodes.values():
        node.say(bytes(node.input))
        node.exits(Exited(0))
    for session_id, stay in zip(ids, stays, strict=True):
        await stay.over()
        assert stay.client.output() == words[session_id]
    for session_id in ids:
        await rig.recorded(session_id)
        assert await recorded_output(rig, session_id) == words[session_id]
    assert rig.budget.used == 0


@pytest.mark.rule("R27")
async def test_strict_no_session_without_a_working_recorder(rig: Rig, tmp_path: Path) -> None:
    broken = tmp_path / "spool"
    await rig.recorder.stop(1)
    refusal = await (await rig.stay()).refused()
    assert (refusal.kind, refusal.reason) == (Kind.UNAVAILABLE, "RECORDING_FAILED")
    assert not rig.node().is_started
    assert rig.node().is_closed
    (session,) = await rig.all_sessions()
    assert (await rig.ended(session.id)).end is End.RECORDING_FAILED
    assert broken.exists()


@pytest.mark.rule("R27")
async def test_a_recording_that_fails_ends_a_strict_session_before_the_next_byte(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"recorded")
    await until(lambda: stay.client.output() == b"recorded")
    rig.watch.live[0].recording.fail("no space left on device")  # type: ignore[union-attr]  # it is recorded
    rig.node().say(b"not recorded")
    await stay.over()
    assert stay.client.output() == b"recorded"
    session = await rig.ended(session_id)
    assert session.end is End.RECORDING_FAILED
    assert "no space left on device" in session.end_message
    assert rig.node().is_closed


@pytest.mark.rule("R27")
async def test_a_full_disk_under_the_spool_ends_the_session(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"recorded")
    await until(lambda: stay.client.output() == b"recorded")
    recording = rig.watch.live[0].recording
    assert recording is not None
    assert recording._part is not None
    await rig.recorder._sync.wait()  # /dev/full cannot be synced either, which would be another failure
    with Path("/dev/full").open("wb") as full:  # every write there fails as on a full disk
        os.dup2(full.fileno(), recording._part.fd)
    stay.client.say(data(b"not recorded, so never typed\n"))
    await stay.over()
    assert rig.node().input == b""
    assert "No space left on device" in stay.client.notices()[-1]
    assert (await rig.ended(session_id)).end is End.RECORDING_FAILED


@pytest.mark.rule("R27")
async def test_an_idle_session_notices_that_its_recording_failed(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.watch.live[0].recording.fail("fdatasync: input/output error")  # type: ignore[union-attr]  # it is recorded
    await stay.over()
    assert (await rig.ended(session_id)).end is End.RECORDING_FAILED


@pytest.mark.rule("R27")
async def test_best_effort_begins_and_goes_on_without_a_recorder(rig: Rig) -> None:
    await rig.prefer(recording=RecordingMode.BEST_EFFORT)
    going = await rig.stay()
    going_id = await going.opened()
    rig.watch.live[0].recording.fail("no space left on device")  # type: ignore[union-attr]  # it is recorded
    rig.node().say(b"goes on")
    await until(lambda: going.client.output() == b"goes on")
    await until(lambda: any("no longer recorded" in text for text in going.client.notices()))
    while "session.unrecorded" not in await rig.world.events(going_id):
        await asyncio.sleep(0.005)
    await rig.recorder.stop(1)
    begun = await rig.stay()
    begun_id = await begun.opened()
    assert not begun.client.frames[0].opened.recorded
    await until(lambda: any("not recorded" in text for text in begun.client.notices()))
    assert await rig.world.events(begun_id) == ["session.started", "session.unrecorded"]
    assert await rig.recording(begun_id) is None


async def test_stopping_ends_sessions_closes_recordings_and_takes_no_more(world: World, tmp_path: Path) -> None:
    rig = Rig(world, tmp_path)
    await rig.prefer()
    async with rig.running():
        stays = [await rig.stay(), await rig.stay()]
        ids = [await stay.opened() for stay in stays]
        rig.node().say(b"the last word")  # of whichever session began last
        await until(lambda: any(stay.client.output() for stay in stays))
        late = await rig.stay()
        late.call.cancel()
        await rig.lifecycle.stop(5)
        for stay in stays:
            assert stay.call.done()
            assert stay.client.exit is not None
            assert "being stopped" in stay.client.exit.message
        refusal = await (await rig.stay()).refused()
        assert (refusal.kind, refusal.reason) == (Kind.UNAVAILABLE, "GATEWAY_STOPPING")
        assert refusal.retry_after is not None
    for session_id in ids:
        assert (await rig.session(session_id)).end is End.GATEWAY_STOPPED
        recording = await rig.recording(session_id)
        assert recording is not None
        assert recording.status is RecordingStatus.COMPLETE


async def test_a_full_house_says_so(rig: Rig) -> None:
    rig.lifecycle._capacity = 1
    request = (await rig.world.ask("alice", "web-1")).life.id
    await (await rig.stay(request_id=request)).opened()
    refusal = await (await rig.stay(request_id=request)).refused()
    assert (refusal.kind, refusal.reason) == (Kind.RESOURCE_EXHAUSTED, "TOO_MANY_SESSIONS")


async def test_the_next_start_ends_what_a_dead_gateway_held(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Rig(world, tmp_path)
    await dead.prefer()
    await dead.recorder.start()
    stay = await dead.stay()
    session_id = await stay.opened()
    dead.node().say(b"seen by the client")
    await until(lambda: stay.client.output() == b"seen by the client")
    # It dies: nothing is written any more, its spool stays as it is.
    monkeypatch.setattr(dead.last_entries, "later", lambda work: work.close())
    stay.call.cancel()
    for recording in dead.recorder._live.copy().values():
        recording.abandon()
    await dead.recorder.stop(0)
    assert (await dead.session(session_id)).ended_at is None

    other = Rig(world, tmp_path, replica="r-2")
    assert await other.lifecycle.recover() == 0
    born_again = Rig(world, tmp_path)
    async with born_again.running():
        assert born_again.lost == 1
        assert await born_again.lifecycle.recover() == 0
        session = await born_again.session(session_id)
        assert session.end is End.GATEWAY_STOPPED
        await born_again.recorded(session_id)
        assert await recorded_output(born_again, session_id) == b"seen by the client"
    assert sorted(await world.events(session_id)) == [
        "recording.completed",
        "recording.played",
        "session.ended",
        "session.started",
    ]


async def test_an_end_that_cannot_be_written_is_written_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    stay: Stay = await rig.stay()
    session_id = await stay.opened()
    transaction = rig.world.database.transaction
    failures = iter([OSError("disk I/O error"), OSError("disk I/O error")])

    def failing() -> object:
        for failure in failures:
            raise failure
        return transaction()

    monkeypatch.setattr(rig.world.database, "transaction", failing)
    rig.node().exits(Exited(0))
    await stay.over()
    assert (await rig.ended(session_id)).end is End.EXITED
    assert next(failures, None) is None


async def test_what_happened_to_a_session_is_told_in_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first of it could not be written at once."""
    session = await rig.session(await (await rig.stay()).opened())
    transaction = rig.world.database.transaction
    failures = iter([OSError("disk I/O error")])

    def failing() -> object:
        for failure in failures:
            raise failure
        return transaction()

    entries = rig.last_entries
    with monkeypatch.context() as patched:
        patched.setattr(rig.world.database, "transaction", failing)
        entries.later(entries.tell(story.detached(session, rig.world.clock())))
        entries.later(entries.write(session, Ending(End.CLIENT_GONE, "The client did not come back.")))
        await rig.ended(session.id)
    told = await rig.world.events(session.id)
    assert [each for each in told if each.startswith("session.")] == [
        "session.started",
        "session.detached",
        "session.ended",
    ]


async def test_a_bug_in_a_connector_is_an_end_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def explode(*_: object) -> object:
        raise RuntimeError("boom")

    monkeypatch.setattr(rig.nodes, "open", explode)
    stay = await rig.stay()
    with pytest.raises(RuntimeError):
        await stay.over()
    (session,) = await rig.all_sessions()
    assert (await rig.ended(session.id)).ended_at is not None
    with pytest.raises(Refused):
        await (await rig.stay(token="jgt_x")).over()

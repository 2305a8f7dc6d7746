"""A gateway whose spool is lost under `durability = store`: of output that nodes keep, nothing is (R25, R27)."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.nodes.ports import Exited
from gateway.sessions.model import End, RecordingStatus
from gateway.store import recording_tables
from recorder.model import Durability
from tests.gateway.access.world import WEB, World
from tests.gateway.sessions.client import data, hangup, until, window
from tests.gateway.sessions.conftest import Rig
from tests.gateway.sessions.test_lifecycle import recorded_output

pytestmark = pytest.mark.rule("R27")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


@pytest.mark.rule("R25")
async def test_the_next_one_goes_on_from_store_and_node(
    world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    rig = Rig(world, tmp_path, durability=Durability.STORE)
    await stack.enter_async_context(rig.running())
    await rig.prefer()
    await rig.with_agent()
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    process = rig.process()
    stay.client.say(data(b"vi\n"))
    process.say(b"stored, ")
    await until(lambda: stay.client.output() == b"stored, " and process.input == b"vi\n")
    (live,) = rig.watch.live
    assert live.recording is not None
    recording = live.recording
    recording._segment_seconds = 3600.0  # a slow test must not have stored what it says is not
    recording.hand_over()
    await until(lambda: recording.secured == 8)
    process.say(b"seen and not stored")
    stay.client.say(data(b":q\n", 3))
    await until(lambda: len(stay.client.output()) == 27 and process.input == b"vi\n:q\n")
    stay.client.say(window(27))
    live.relay.pass_time()
    await until(lambda: process.oldest == 8)  # confirmed by the client, kept by the node

    await rig.die()
    await stack.aclose()
    shutil.rmtree(tmp_path / "spool")
    after = Rig(world, tmp_path, kept=rig.kept, durability=Durability.STORE)
    await stack.enter_async_context(after.running())
    await after.adoption.held(WEB, [session_id])
    back = await after.back(session_id, 27)
    await back.opened()
    opened = back.client.frames[0].opened
    assert (opened.output_offset, opened.input_offset) == (27, 6)
    process.say(b", and more")
    await until(lambda: back.client.output() == b", and more")
    process.exits(Exited(0))
    await until(lambda: back.client.exit)
    back.client.say(hangup())
    await back.over()
    assert (await after.ended(session_id)).end is End.EXITED
    done = await after.recorded(session_id)
    assert await recorded_output(after, session_id) == b"stored, seen and not stored, and more"
    assert done.gaps >= 1
    async with world.database.read() as connection:
        assert (await connection.execute(recording_tables.recording_heads.select())).all() == []


async def test_else_such_a_session_ends(world: World, tmp_path: Path, stack: AsyncExitStack) -> None:
    rig = Rig(world, tmp_path, durability=Durability.SYNC)
    await stack.enter_async_context(rig.running())
    await rig.prefer()
    await rig.with_agent()
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await rig.die()
    await stack.aclose()
    shutil.rmtree(tmp_path / "spool")
    after = Rig(world, tmp_path, kept=rig.kept, durability=Durability.SYNC)
    await stack.enter_async_context(after.running())
    await after.adoption.held(WEB, [session_id])
    session = await after.ended(session_id)
    assert session.end is End.RECORDING_FAILED
    assert "no recording" in session.end_message
    found = await after.recording(session_id)
    assert found is not None
    assert found.status is not RecordingStatus.COMPLETE  # whoever finds the disk again has it all

"""Sessions of a gateway that never comes back get their end from another one."""

from pathlib import Path

import pytest

from gateway.sessions.left_behind import MARGIN, LeftBehind
from gateway.sessions.model import End
from tests.gateway.access.world import World
from tests.gateway.sessions.conftest import Rig


def looking(rig: Rig, replica: str) -> LeftBehind:
    return LeftBehind(rig.world.database, rig.last_entries, rig.world.clock, replica=replica)


@pytest.mark.rule("R25")
async def test_nothing_of_a_lost_gateway_is_live_for_ever(world: World, tmp_path: Path) -> None:
    lost = Rig(world, tmp_path)
    await lost.prefer()
    await lost.recorder.start()
    session_id = await (await lost.stay()).opened()
    await lost.die()
    await lost.recorder.stop(0)
    other = Rig(world, tmp_path, replica="r-2")
    ends_at = (await other.session(session_id)).ends_at

    world.clock.jump(seconds=(ends_at + MARGIN - world.clock()).total_seconds())
    await looking(other, "r-2").look()
    assert (await other.session(session_id)).ended_at is None, "its own gateway may still write how it ended"

    world.clock.jump(seconds=1)
    await looking(other, lost.watch.replica).look()
    assert (await other.session(session_id)).ended_at is None, "what is one's own is the watch's"

    await looking(other, "r-2").look()
    await looking(other, "r-3").look()
    session = await other.session(session_id)
    assert (session.end, session.ended_at) == (End.GATEWAY_STOPPED, world.clock())
    assert "was away" in session.end_message
    assert (await world.events(session_id)).count("session.ended") == 1

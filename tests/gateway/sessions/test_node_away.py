"""Nodes that go away and come back, or come back without their sessions."""

import pytest

from gateway.sessions.model import End
from tests.gateway.sessions.client import data, hangup, until
from tests.gateway.sessions.conftest import GRACE, Rig

pytestmark = pytest.mark.usefixtures("keeping")


async def test_a_node_that_goes_away_and_comes_back(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    node = rig.kept.sessions[-1]
    node.cut()
    rig.world.clock.advance(seconds=1)
    rig.watch.tick()
    node.back()
    node.cut()
    stay.client.say(data(b"typed meanwhile"))
    assert stay.client.notices() == []
    rig.world.clock.advance(seconds=2)
    await until(lambda: len(stay.client.notices()) == 1)
    rig.process().say(b"said meanwhile")
    assert stay.client.output() == b""
    node.back()
    await until(lambda: len(stay.client.notices()) == 2 and stay.client.output() == b"said meanwhile")
    assert ["interrupted" in stay.client.notices()[0], "is back" in stay.client.notices()[1]] == [True, True]
    assert rig.process().input == b"typed meanwhile"

    node.cut()
    rig.world.clock.advance(seconds=GRACE)
    await stay.over()
    assert (await rig.ended(session_id)).end is End.NODE_GONE
    assert rig.process().is_killed


async def test_a_client_comes_back_while_the_node_is_away(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    rig.process().say(b"abc")
    await until(lambda: stay.client.output() == b"abc")
    await stay.gone()
    node = rig.kept.sessions[-1]
    node.cut()
    rig.world.clock.advance(seconds=2)
    back = await rig.back(session_id, 1)
    await back.opened()
    await until(back.client.notices)
    node.back()
    await until(lambda: back.client.output() == b"bc")
    node.lose()
    await until(lambda: back.client.exit)
    back.client.say(hangup())
    await back.over()
    assert (await rig.ended(session_id)).end is End.NODE_GONE


async def test_a_node_that_lost_a_session_that_nobody_is_in(rig: Rig) -> None:
    stay = await rig.stay(resumable=True)
    session_id = await stay.opened()
    await stay.gone()
    rig.kept.sessions[-1].lose()
    assert (await rig.ended(session_id)).end is End.NODE_GONE

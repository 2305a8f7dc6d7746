"""Where a session is recorded is fixed when it begins, if what its preferences chose is allowed then."""

import pytest
from sqlalchemy import select

from gateway.errors import Kind
from gateway.places.choosing import place_of
from gateway.places.model import Allowance
from gateway.sessions.model import End
from gateway.store import allowances, recording_places, tables
from gateway.store.preferences import RecordingMode
from tests.gateway.access.world import HOME
from tests.gateway.places.examples import ALLOWED, CHOICE
from tests.gateway.sessions.client import until
from tests.gateway.sessions.conftest import Rig

pytestmark = pytest.mark.rule("R26")


async def allow(rig: Rig) -> list[Allowance]:
    account, _ = HOME
    allowed = [
        Allowance(account, each.kind, each.name, each.owner, each.aws_region, each.external_id, rig.world.clock())
        for each in ALLOWED
    ]
    async with rig.world.database.transaction() as tx:
        for each in allowed:
            await allowances.put(tx.connection, each)
    return allowed


async def test_a_session_keeps_its_place_whatever_is_preferred_or_allowed_later(rig: Rig) -> None:
    allowed = await allow(rig)
    await rig.prefer(recording_place=CHOICE)
    session_id = await (await rig.stay()).opened()
    async with rig.world.database.transaction() as tx:
        for each in allowed:
            await allowances.remove(tx.connection, each)
    await rig.prefer()
    own_id = await (await rig.stay()).opened()
    async with rig.world.database.read() as connection:
        assert await recording_places.get(connection, session_id) == place_of(CHOICE, HOME[0], allowed)
        assert await recording_places.get(connection, own_id) is None
        assert len(await recording_places.every(connection)) == 1


async def test_what_is_allowed_no_more_lets_no_session_begin_and_says_why(rig: Rig) -> None:
    await rig.prefer(recording_place=CHOICE)  # as if it had been withdrawn since
    refused = await (await rig.stay()).refused()
    assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "RECORDING_FAILED")
    assert f"{CHOICE.bucket} is not allowed for account {HOME[0]}" in refused.message
    async with rig.world.database.read() as connection:
        session_id = await connection.scalar(select(tables.sessions.c.id))
    assert (await rig.ended(str(session_id))).end is End.RECORDING_FAILED


async def test_best_effort_begins_without_a_recording_then(rig: Rig) -> None:
    await rig.prefer(recording_place=CHOICE, recording=RecordingMode.BEST_EFFORT)
    stay = await rig.stay()
    session_id = await stay.opened()
    assert not stay.client.frames[0].opened.recorded
    await until(lambda: any("is not allowed" in text for text in stay.client.notices()))
    assert "session.unrecorded" in await rig.world.events(session_id)

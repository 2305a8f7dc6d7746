"""What people are shown of a request, and decide on afterwards."""

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.model import Status
from gateway.errors import Refused
from policy.model import PolicyKind
from tests.gateway.access.world import World, manual


@pytest.mark.rule("R16")
async def test_what_was_shown_at_another_level_decides_nothing(ready: World) -> None:
    """A page that somebody has opened before the level changed."""
    request_id = (await ready.ask("alice", "db-1")).life.id
    await ready.requests.approve(await ready.caller("sam"), request_id, shown_level=1)
    before = await ready.rows()
    for decide in (ready.requests.approve, ready.requests.deny):
        with pytest.raises(Refused, match="LEVEL_CHANGED"):
            await decide(await ready.caller("olga"), request_id, shown_level=1)
    with pytest.raises(Refused, match="LEVEL_CHANGED"):
        await ready.requests.revoke(await ready.caller("sam"), request_id, shown_level=1)
    assert await ready.rows() == before
    await ready.requests.approve(await ready.caller("olga"), request_id, shown_level=2)
    with pytest.raises(Refused, match="LEVEL_CHANGED"):
        await ready.requests.revoke(await ready.caller("sam"), request_id, shown_level=2)
    ended = await ready.requests.revoke(await ready.caller("sam"), request_id, shown_level=0)
    assert ended.life.status is Status.REVOKED
    with pytest.raises(Refused, match="WRONG_STATUS"):
        await ready.requests.deny(await ready.caller("olga"), request_id, shown_level=2)


async def test_only_what_would_be_taken_is_offered(ready: World) -> None:
    request_id = (await ready.ask("alice", "db-1")).life.id

    async def offered(user_id: str) -> tuple[bool, bool, bool, bool]:
        who = await ready.caller(user_id)
        could = ready.reader.possible(who, await ready.reader.get(await ready.caller("ada"), request_id))
        return could.approve, could.deny, could.revoke, could.sign_in_again

    assert await offered("sam") == (True, True, False, False)
    for other in ("alice", "olga", "ada", "mallory"):
        assert await offered(other) == (False, False, False, False)
    await ready.requests.approve(await ready.caller("sam"), request_id)
    assert await offered("sam") == (False, False, True, False)
    assert await offered("root") == (False, False, True, False)
    assert await offered("olga") == (True, True, False, False)
    await ready.requests.approve(await ready.caller("olga"), request_id)
    assert await offered("sam") == (False, False, True, False)
    assert await offered("alice") == (False, False, False, False)


async def test_a_level_that_wants_a_fresh_sign_in_offers_one(world: World) -> None:
    levels = "[{approvers: [{group: sre}], signInWithinMinutes: 5}]"
    await world.put(PolicyKind.MANUAL, manual(levels=levels))
    request = await world.ask("alice", "db-1")
    sam = await world.caller("sam")
    could = world.reader.possible(sam, request)
    assert (could.approve, could.deny, could.sign_in_again) == (False, False, True)
    fresh = replace(sam, signed_in_at=world.clock() - timedelta(minutes=5))
    assert world.reader.possible(fresh, request).approve
    stale = replace(sam, signed_in_at=world.clock() - timedelta(minutes=5, seconds=1))
    assert world.reader.possible(stale, request).sign_in_again
    with pytest.raises(Refused, match="STEP_UP_NEEDED"):
        await world.requests.approve(stale, request.life.id)

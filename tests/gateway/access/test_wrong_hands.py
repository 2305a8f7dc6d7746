"""R24: a token in wrong hands is refused, and that is written down, though not more often than anybody reads."""

import asyncio
import contextlib

import pytest

from gateway.access.tokens import IssuedToken, new_token
from gateway.access.wrong_hands import TOLD_EVERY, told
from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.store import events
from gateway.store.events import Event, Filter
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import HOME, START, WEB, Hands, World

pytestmark = pytest.mark.rule("R24")


@pytest.fixture
async def token(ready: World) -> str:
    issued = await ready.tokens.issue(await ready.caller("alice"), (await ready.ask("alice", "web-1")).life.id)
    assert isinstance(issued, IssuedToken)
    return issued.value


async def show(hands: Hands, caller: Caller, token: str, world: World) -> None:
    """As sessions do."""
    now = world.clock()
    async with told(hands.database, caller, now), hands.database.transaction() as tx:
        await hands.gate.admit(tx, token, caller, "web-1", HOME, now)


async def refusals(world: World) -> list[Event]:
    async with world.database.read() as connection:
        found = await events.page(connection, [("*", "*")], Filter("access_token.refused"), 100)
    return [event for _, event in reversed(found)]


async def test_another_client_of_the_holders_is_told_of(ready: World, token: str) -> None:
    with pytest.raises(Refused, match="TOKEN_OTHER_KEY"):
        await show(ready, await ready.caller("alice", "key-2"), token, ready)
    [event] = await refusals(ready)
    assert event.summary == "alice showed an access token of their own from another client and was refused"
    assert (event.at, event.actor_id, event.source_address) == (START, "alice", "192.0.2.77")
    assert (event.account, event.region) == HOME
    assert (event.details["node_id"], event.details["key_hash"]) == (WEB, "key-2")
    assert token not in repr(event)


async def test_another_person_is_told_of_and_learns_nothing(ready: World, token: str) -> None:
    with pytest.raises(Refused) as known:
        await show(ready, await ready.caller("bob"), token, ready)
    with pytest.raises(Refused) as unknown:
        await show(ready, await ready.caller("bob"), new_token(), ready)
    for answer in (known.value, unknown.value):
        assert (answer.reason, answer.metadata) == ("TOKEN_UNKNOWN", {})
    assert (known.value.message, known.value.what_to_do) == (unknown.value.message, unknown.value.what_to_do)
    [event] = await refusals(ready)
    assert event.summary == "bob showed an access token of alice's and was refused"
    assert (event.actor_id, event.details["holder_id"]) == ("bob", "alice")


async def test_the_holder_and_tokens_that_are_none_are_not_told_of(ready: World, token: str) -> None:
    await show(ready, await ready.caller("alice"), token, ready)
    async with refused(ready, "TOKEN_UNKNOWN"):
        await show(ready, await ready.caller("bob"), new_token(), ready)
    async with refused(ready, "TOKEN_MALFORMED"):
        await show(ready, await ready.caller("bob"), token[:-1], ready)


async def test_whoever_goes_on_trying_does_not_fill_the_table(ready: World, token: str) -> None:
    thief, bob = await ready.caller("alice", "key-2"), await ready.caller("bob")
    replicas = [Hands(ready.url, ready.clock) for _ in range(2)]
    try:
        calls = [show(hands, who, token, ready) for hands in replicas for who in (thief, bob) * 5]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        for hands in replicas:
            await hands.database.close()
    assert {type(answer).__name__ for answer in answers} == {"WrongHands"}
    assert sorted(event.actor_id for event in await refusals(ready)) == ["alice", "bob"]
    for expected, seconds in ((2, TOLD_EVERY.total_seconds()), (3, 1)):
        ready.clock.advance(seconds=seconds)
        with contextlib.suppress(Refused):
            await show(ready, bob, token, ready)
        assert len(await refusals(ready)) == expected


async def test_what_cannot_be_written_down_is_refused_all_the_same(
    ready: World, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError("the disk is full")

    thief = await ready.caller("alice", "key-2")
    monkeypatch.setattr(events, "append", full)
    with pytest.raises(Refused, match="TOKEN_OTHER_KEY"):
        await show(ready, thief, token, ready)

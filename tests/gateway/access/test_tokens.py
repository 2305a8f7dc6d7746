import hashlib
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.model import Status
from gateway.access import tokens
from gateway.access.model import AccessRequest
from gateway.access.tokens import IssuedToken, is_well_formed, new_token
from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.store import tables
from gateway.store import tokens as stored
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import DATABASE_NODE, HOME, START, WEB, World


async def issue(world: World, request: AccessRequest, key_hash: str = "key-1") -> IssuedToken:
    issued = await world.tokens.issue(await world.caller("alice", key_hash), request.life.id)
    assert isinstance(issued, IssuedToken)
    return issued


async def check(world: World, token: str, caller: Caller, node_id: str = WEB) -> str:
    async with world.database.read() as connection:
        return (await tokens.check(connection, token, caller, node_id, world.clock()))[0].request_id


def test_form() -> None:
    token = new_token()
    assert re.fullmatch(r"jgt_[0-9A-Za-z]{49}", token)
    assert is_well_formed(token)
    assert new_token() != token
    assert is_well_formed(new_token(lambda bits: 2**bits - 1))
    assert is_well_formed(new_token(lambda _bits: 0))


@settings(max_examples=100)
@given(place=st.integers(0, 52), letter=st.characters())
def test_a_slip_of_one_letter_is_noticed(place: int, letter: str) -> None:
    token = new_token(lambda _bits: 1234567890 << 200)
    slipped = token[:place] + letter + token[place + 1 :]
    assert is_well_formed(slipped) == (slipped == token)


@settings(max_examples=100)
@given(text=st.text(max_size=400))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert not is_well_formed(text)


async def test_malformed_ones_are_refused_before_any_lookup(ready: World) -> None:
    alice = await ready.caller("alice")
    for wrong in ("", "jgt_", "x" * 300, new_token()[:-1], new_token() + "\n", "jgt_" + "é" * 49):
        with pytest.raises(Refused) as caught:
            await tokens.find(None, wrong, alice)  # type: ignore[arg-type]  # nothing is looked up
        assert caught.value.reason == "TOKEN_MALFORMED"


@pytest.mark.rule("R24")
async def test_only_its_hash_is_stored_and_repr_hides_it(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    issued = await issue(ready, request)
    everything = str(await ready.rows())
    assert issued.value not in everything
    assert issued.value[4:30] not in everything
    assert hashlib.sha256(issued.value.encode()).hexdigest() in everything
    assert issued.value not in repr(issued)
    assert "access_token.issued" in await ready.events(request.life.id)


@pytest.mark.rule("R24")
async def test_it_opens_its_node_to_its_holder(ready: World) -> None:
    request = await ready.ask("alice", "web-1")
    issued = await issue(ready, request)
    assert issued.node_id == WEB
    assert await check(ready, issued.value, await ready.caller("alice")) == request.life.id
    # As often as needed in the window.
    assert await check(ready, issued.value, await ready.caller("alice")) == request.life.id


@pytest.mark.rule("R24")
async def test_another_users_token_answers_as_an_unknown_one(ready: World) -> None:
    issued = await issue(ready, await ready.ask("alice", "web-1"))
    bob = await ready.caller("bob")
    answers = []
    for token in (issued.value, new_token()):
        with pytest.raises(Refused) as caught:
            await check(ready, token, bob)
        answers.append((caught.value.kind, caught.value.reason, caught.value.message, caught.value.metadata))
    assert answers[0] == answers[1]
    assert answers[0][1] == "TOKEN_UNKNOWN"


@pytest.mark.rule("R24")
async def test_a_token_is_bound_to_its_key(ready: World) -> None:
    issued = await issue(ready, await ready.ask("alice", "web-1"))
    async with refused(ready, "TOKEN_OTHER_KEY"):
        await check(ready, issued.value, await ready.caller("alice", "key-2"))


@pytest.mark.rule("R24")
async def test_a_token_is_bound_to_its_node(ready: World) -> None:
    issued = await issue(ready, await ready.ask("alice", "web-1"))
    async with refused(ready, "TOKEN_OTHER_NODE"):
        await check(ready, issued.value, await ready.caller("alice"), DATABASE_NODE)


@pytest.mark.rule("R24")
async def test_an_hour_or_the_windows_end(ready: World) -> None:
    request = await ready.approved()
    alice = await ready.caller("alice")
    first = await ready.tokens.issue(alice, request.life.id)
    assert isinstance(first, IssuedToken)
    assert first.expires_at == START + timedelta(hours=1)
    ready.clock.advance(minutes=59, seconds=59)
    assert await check(ready, first.value, alice, DATABASE_NODE) == request.life.id
    ready.clock.advance(seconds=1)
    async with refused(ready, "TOKEN_EXPIRED"):
        await check(ready, first.value, alice, DATABASE_NODE)
    ready.clock.advance(hours=6, minutes=30)
    last = await ready.tokens.issue(alice, request.life.id)
    assert isinstance(last, IssuedToken)
    assert last.expires_at == START + timedelta(hours=8)
    ready.clock.advance(minutes=30)
    async with refused(ready, "ACCESS_ENDED"):
        await check(ready, last.value, alice, DATABASE_NODE)
    assert await ready.tokens.issue(alice, request.life.id) is Status.EXPIRED


@pytest.mark.rule("R24")
async def test_a_clock_that_went_back_makes_no_token_live_longer(ready: World) -> None:
    issued = await issue(ready, await ready.ask("alice", "web-1"))
    ready.clock.jump(minutes=-5)
    with pytest.raises(Refused):
        await check(ready, issued.value, await ready.caller("alice"))


@pytest.mark.rule("R24")
async def test_a_sixth_revokes_the_oldest(ready: World) -> None:
    request = await ready.approved()
    alice = await ready.caller("alice")
    issued = []
    for _ in range(6):
        issued.append(await issue(ready, request))
        ready.clock.advance(seconds=1)
    async with refused(ready, "TOKEN_REVOKED"):
        await check(ready, issued[0].value, alice, DATABASE_NODE)
    for token in issued[1:]:
        assert await check(ready, token.value, alice, DATABASE_NODE) == request.life.id
    async with ready.database.read() as connection:
        assert len(await stored.alive(connection, request.life.id, ready.clock())) == 5


async def test_dead_tokens_are_forgotten_after_a_day(ready: World) -> None:
    request = await ready.approved(hours=None)
    async with ready.database.transaction() as tx:  # a window that is long enough
        life = replace(request.life, window_end=START + timedelta(days=10))
        await ready.set(
            tx.connection,
            tables.access_requests,
            life.id,
            next_deadline=life.window_end,
            state={**(await _state(ready, life.id)), "window_end": life.window_end.isoformat()},  # type: ignore[union-attr]
        )
    await issue(ready, request)
    ready.clock.advance(days=2)
    await issue(ready, request)
    assert len((await ready.rows())["access_tokens"]) == 1


async def _state(world: World, request_id: str) -> dict[str, object]:
    rows = tables.access_requests
    async with world.database.read() as connection:
        state: dict[str, object] = (
            (await connection.execute(rows.select().where(rows.c.id == request_id))).one().state
        )
        return state


@pytest.mark.rule("R24")
async def test_only_the_requester_gets_tokens(ready: World) -> None:
    request = await ready.approved()
    for who in ("sam", "root", "ada"):
        async with refused(ready, "NOT_REQUESTER"):
            await ready.tokens.issue(await ready.caller(who), request.life.id)


@pytest.mark.rule("R32")
async def test_only_while_the_requester_may_ask_there(ready: World) -> None:
    request = await ready.approved()
    await ready.ungrant(RoleGrant("user", "alice", Role.USER))
    async with refused(ready, "NOT_PERMITTED"):
        await ready.tokens.issue(await ready.caller("alice"), request.life.id)


@pytest.mark.rule("R24")
async def test_only_in_the_window(ready: World) -> None:
    alice = await ready.caller("alice")
    pending = await ready.ask("alice", "db-1")
    before = await ready.rows()
    assert await ready.tokens.issue(alice, pending.life.id) is Status.PENDING
    assert await ready.rows() == before
    await ready.requests.cancel(alice, pending.life.id)
    assert await ready.tokens.issue(alice, pending.life.id) is Status.CANCELLED


@pytest.mark.rule("R4")
async def test_none_where_disabled(ready: World) -> None:
    request = await ready.approved()
    await ready.enable(*HOME, enabled=False)
    async with refused(ready, "ACCESS_DISABLED"):
        await ready.tokens.issue(await ready.caller("alice"), request.life.id)


async def test_none_for_locked_or_removed_nodes(ready: World) -> None:
    request = await ready.approved()
    alice = await ready.caller("alice")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.nodes, DATABASE_NODE, locked_at=START, lock_reason="on fire")
    async with refused(ready, "NODE_LOCKED"):
        await ready.tokens.issue(alice, request.life.id)
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.nodes, DATABASE_NODE, locked_at=None, removed_at=START)
    async with refused(ready, "NODE_NOT_FOUND"):
        await ready.tokens.issue(alice, request.life.id)


@pytest.mark.rule("R19")
async def test_revoked_requests_kill_their_tokens(ready: World) -> None:
    request = await ready.approved()
    issued = await issue(ready, request)
    await ready.requests.revoke(await ready.caller("root"), request.life.id)
    async with refused(ready, "ACCESS_ENDED"):
        await check(ready, issued.value, await ready.caller("alice"), DATABASE_NODE)

import asyncio
import contextlib
from dataclasses import replace
from datetime import datetime

import pytest

from approvals.model import Status
from gateway.access.model import AccessRequest
from gateway.errors import Refused
from gateway.identity.model import Role, RoleGrant
from gateway.store import directory, tables
from gateway.store.requests import Filter
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import BOTH, DATABASE_NODE, HOME, START, World


async def listed(world: World, user_id: str, wanted: Filter | None = None) -> list[str]:
    found, more = await world.reader.find(await world.caller(user_id), wanted or Filter(), 100)
    assert not more
    return [request.life.id for request in found]


async def waiting(world: World, user_id: str) -> list[str]:
    found, _ = await world.reader.waiting_for(await world.caller(user_id), Filter(), 100)
    return [request.life.id for request in found]


@pytest.mark.rule("R28")
async def test_requester_approvers_and_auditors_read_it(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    for who in ("alice", "sam", "olga", "ada", "root"):
        assert (await ready.reader.get(await ready.caller(who), request.life.id)).life == request.life
        assert await listed(ready, who) == [request.life.id]


@pytest.mark.rule("R28")
async def test_for_everybody_else_it_is_not_there(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.grant(RoleGrant("user", "mallory", Role.AUDITOR, "other", "default"))
    await ready.grant(RoleGrant("user", "mallory", Role.AUDITOR, "default", "elsewhere"))
    for who in ("bob", "mallory"):
        async with refused(ready, "REQUEST_NOT_FOUND"):
            await ready.reader.get(await ready.caller(who), request.life.id)
        assert await listed(ready, who) == []
    # An auto-approved request names no approver.
    auto = await ready.ask("alice", "web-1")
    async with refused(ready, "REQUEST_NOT_FOUND"):
        await ready.reader.get(await ready.caller("sam"), auto.life.id)


async def test_filters(ready: World) -> None:
    auto = (await ready.ask("alice", "web-1")).life.id
    pending = (await ready.ask("bob", "db-1")).life.id
    cases = {
        Filter(statuses=frozenset({Status.PENDING})): [pending],
        Filter(statuses=frozenset({Status.PENDING, Status.APPROVED})): [pending, auto],
        Filter(requester_id="alice"): [auto],
        Filter(node="db-1"): [pending],
        Filter(node=DATABASE_NODE): [pending],
        Filter(node=BOTH): [],
        Filter(account="default", region="default"): [pending, auto],
        Filter(account="other"): [],
        Filter(region="elsewhere"): [],
    }
    for wanted, expected in cases.items():
        assert set(await listed(ready, "ada", wanted)) == set(expected), wanted


async def test_pages_newest_first(ready: World) -> None:
    made = []
    for n in range(7):
        made.append((await ready.ask("alice", "db-1")).life.id)
        if n % 3 == 2:
            ready.clock.advance(seconds=1)  # several requests in the same moment, and later ones
    ada = await ready.caller("ada")
    seen: list[AccessRequest] = []
    after: tuple[datetime, str] | None = None
    more = True
    while more:
        page, more = await ready.reader.find(ada, Filter(), 2, after)
        assert len(page) == 2 or not more
        seen += page
        after = (page[-1].life.opened_at, page[-1].life.id)
    keys = [(request.life.opened_at, request.life.id) for request in seen]
    assert keys == sorted(keys, reverse=True)
    assert {request.life.id for request in seen} == set(made)
    assert len(seen) == 7
    assert all(request.events == () for request in seen)


@pytest.mark.rule("R16")
async def test_for_me_is_what_i_could_decide_now(ready: World) -> None:
    request = (await ready.ask("alice", "db-1")).life.id
    assert await waiting(ready, "sam") == [request]
    assert await waiting(ready, "sue") == [request]
    for who in ("olga", "alice", "ada", "root", "mallory"):  # not yet, own, or not named
        assert await waiting(ready, who) == []
    await ready.requests.approve(await ready.caller("sam"), request)
    assert await waiting(ready, "sam") == []
    assert await waiting(ready, "olga") == [request]
    await ready.requests.approve(await ready.caller("olga"), request)
    assert await waiting(ready, "pete") == []


@pytest.mark.rule("R17")
async def test_for_me_leaves_out_own_requests_and_those_without_the_role(ready: World) -> None:
    async with ready.database.transaction() as tx:
        await directory.join(tx.connection, "alice", ["sre"])
    request = (await ready.ask("alice", "db-1")).life.id
    assert await waiting(ready, "alice") == []
    assert await waiting(ready, "sam") == [request]
    await ready.ungrant(RoleGrant("group", "sre", Role.APPROVER))
    assert await waiting(ready, "sam") == []


async def test_for_me_goes_on_behind_what_was_decided_already(ready: World) -> None:
    """A page is full although the newest requests are not for the caller any more."""
    sam = await ready.caller("sam")
    wanted = [(await ready.ask("alice", "db-1")).life.id for _ in range(3)]
    ready.clock.advance(seconds=1)
    for _ in range(103):
        decided = await ready.ask("alice", "db-1")
        await ready.requests.approve(sam, decided.life.id)
    first, more = await ready.reader.waiting_for(sam, Filter(), 2)
    assert len(first) == 2
    assert more
    last, more = await ready.reader.waiting_for(sam, Filter(), 2, (first[-1].life.opened_at, first[-1].life.id))
    assert not more
    assert {request.life.id for request in first + last} == set(wanted)


async def test_watching_sees_every_change_and_ends_with_the_life(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    seen: list[AccessRequest] = []

    async def watch() -> None:
        async for state in ready.reader.watch(await ready.caller("alice"), request.life.id):
            seen.append(state)

    async with asyncio.timeout(30):
        watching = asyncio.create_task(watch())
        while len(seen) < 1:
            await asyncio.sleep(0)
        await ready.requests.approve(await ready.caller("sam"), request.life.id)
        while len(seen) < 2:
            await asyncio.sleep(0)
        await ready.requests.deny(await ready.caller("olga"), request.life.id)
        await watching
    assert [state.life.status for state in seen] == [Status.PENDING, Status.PENDING, Status.REJECTED]
    assert [state.revision for state in seen] == [1, 2, 3]
    assert seen[-1].events[-1].type == "access_request.rejected"


async def test_watching_sees_what_another_replica_did(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    watching = ready.reader.watch(await ready.caller("alice"), request.life.id)
    async with asyncio.timeout(30):
        assert (await anext(watching)).revision == 1
        async with ready.database.transaction() as tx:  # nobody is told
            life = replace(request.life, hours=None)
            await ready.set(tx.connection, tables.access_requests, life.id, revision=2)
        assert (await anext(watching)).revision == 2
    await watching.aclose()  # type: ignore[attr-defined]  # an async generator
    assert ready.changes._waiting == {}


async def test_watching_ends_when_the_watcher_may_no_longer_look(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    watching = ready.reader.watch(await ready.caller("sam"), request.life.id)
    async with asyncio.timeout(30):
        await anext(watching)
        async with ready.database.transaction() as tx:
            await directory.leave(tx.connection, "sam", ["sre"])
        with pytest.raises(Refused) as caught:
            await anext(watching)
    assert caught.value.reason == "REQUEST_NOT_FOUND"


async def test_watching_what_is_over_answers_once(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.requests.cancel(await ready.caller("alice"), request.life.id)
    seen = [state async for state in ready.reader.watch(await ready.caller("alice"), request.life.id)]
    assert [state.life.status for state in seen] == [Status.CANCELLED]


async def test_locked_people_read_nothing(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    alice = await ready.caller("alice")
    async with ready.database.transaction() as tx:
        await ready.set(tx.connection, tables.users, "alice", locked_at=START, lock_reason="left")
    async with refused(ready, "USER_LOCKED"):
        await ready.reader.get(alice, request.life.id)
    with contextlib.suppress(Refused):
        pytest.fail(str([state async for state in ready.reader.watch(alice, request.life.id)]))


async def test_one_scope_is_not_another(ready: World) -> None:
    await ready.grant(RoleGrant("user", "alice", Role.USER, "*", "*"))
    await ready.grant(RoleGrant("user", "bob", Role.AUDITOR, *HOME))
    await ready.enable("other", "default")
    request = await ready.ask("alice", "db-1")
    assert await listed(ready, "bob", Filter(account="other")) == []
    assert await listed(ready, "bob") == [request.life.id]

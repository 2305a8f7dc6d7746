"""Many at once, from several gateways on the same database; and one that dies in the middle."""

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any

import pytest

from approvals.model import Status
from gateway.access.admission import Admission
from gateway.access.model import AccessRequest
from gateway.access.requests import Ask
from gateway.access.tokens import IssuedToken
from gateway.errors import Refused
from gateway.identity.model import Role, RoleGrant
from gateway.store import requests, tables
from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, HOME, Hands, World, manual

CROWD = 100
REPLICAS = 4


@contextlib.asynccontextmanager
async def replicas(world: World) -> AsyncIterator[list[Hands]]:
    started = [Hands(world.url, world.clock) for _ in range(REPLICAS)]
    try:
        yield started
    finally:
        for replica in started:
            await replica.database.close()


async def outcomes(calls: Iterable[Awaitable[Any]]) -> Counter[str]:
    """How often each status or refusal came out; anything unexpected is raised."""
    counted: Counter[str] = Counter()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        match result:
            case AccessRequest():
                counted[result.life.status.value] += 1
            case Refused():
                counted[result.reason] += 1
            case BaseException():
                raise result
    return counted


async def crowd(world: World, levels: str) -> AccessRequest:
    """A request that a hundred people may decide on."""
    async with world.database.transaction() as tx:
        now = world.clock()
        people = [
            {
                "id": f"person-{n}",
                "issuer": "local",
                "subject": f"person-{n}",
                "created_at": now,
                "membership_checked_at": now,
            }
            for n in range(CROWD)
        ]
        members = [{"group_id": "crowd", "user_id": person["id"]} for person in people]
        await tx.connection.execute(tables.users.insert(), people)
        await tx.connection.execute(tables.memberships.insert(), members)
    await world.grant(RoleGrant("group", "crowd", Role.APPROVER))
    await world.put(PolicyKind.MANUAL, manual(levels=levels))
    return await world.ask("alice", "db-1")


@pytest.mark.rule("R17")
async def test_a_hundred_approvals_end_in_exactly_one_outcome(world: World) -> None:
    request = await crowd(world, "[{approvers: [{group: crowd}]}]")
    people = [await world.caller(f"person-{n}") for n in range(CROWD)]
    async with replicas(world) as hands:
        counted = await outcomes(
            hands[n % REPLICAS].requests.approve(person, request.life.id) for n, person in enumerate(people)
        )
    assert counted == {"Approved": 1, "WRONG_STATUS": CROWD - 1}
    events = await world.events(request.life.id)
    assert events.count("access_request.approved") == 1
    assert events.count("access_request.approval_given") == 1


@pytest.mark.rule("R16")
async def test_levels_never_overshoot(world: World) -> None:
    levels = "[{approvers: [{group: crowd}], approvals: 3}, {approvers: [{group: crowd}], approvals: 2}]"
    request = await crowd(world, levels)
    people = [await world.caller(f"person-{n}") for n in range(CROWD)]
    async with replicas(world) as hands:
        counted = await outcomes(
            hands[n % REPLICAS].requests.approve(person, request.life.id) for n, person in enumerate(people)
        )
    assert counted == {"Pending": 4, "Approved": 1, "WRONG_STATUS": CROWD - 5}
    life = (await world.reader.get(await world.caller("alice"), request.life.id)).life
    assert [len(life.approvals_of(level)) for level in (0, 1)] == [3, 2]
    assert len({approval.person.user_id for approval in life.approvals}) == 5


@pytest.mark.rule("R18")
async def test_approvals_denials_and_a_cancellation_end_in_one(world: World) -> None:
    request = await crowd(world, "[{approvers: [{group: crowd}], approvals: 5}]")
    people = [await world.caller(f"person-{n}") for n in range(CROWD)]
    alice = await world.caller("alice")
    async with replicas(world) as hands:
        calls: list[Awaitable[AccessRequest]] = [
            (hands[n % REPLICAS].requests.deny if n % 10 == 9 else hands[n % REPLICAS].requests.approve)(
                person, request.life.id
            )
            for n, person in enumerate(people)
        ]
        await outcomes([*calls, hands[0].requests.cancel(alice, request.life.id)])
    life = (await world.reader.get(alice, request.life.id)).life
    assert life.status is not Status.PENDING
    ends = {"access_request.approved", "access_request.rejected", "access_request.cancelled"}
    assert sum(event in ends for event in await world.events(request.life.id)) == 1


@pytest.mark.rule("R17")
async def test_one_person_a_hundred_times_counts_once(world: World) -> None:
    request = await crowd(world, "[{approvers: [{group: crowd}], approvals: 2}]")
    eager = await world.caller("person-0")
    async with replicas(world) as hands:
        counted = await outcomes(
            hands[n % REPLICAS].requests.approve(eager, request.life.id) for n in range(CROWD)
        )
    assert counted == {"Pending": 1, "ALREADY_APPROVED": CROWD - 1}


@pytest.mark.rule("R25")
async def test_a_revocation_against_starting_sessions(ready: World) -> None:
    """Whoever was let in before it finds out; nobody is let in after it."""
    for _ in range(5):
        request = await ready.approved()
        alice, sam = await ready.caller("alice"), await ready.caller("sam")
        issued = await ready.tokens.issue(alice, request.life.id)
        assert isinstance(issued, IssuedToken)
        async with replicas(ready) as hands:

            async def admit(hand: Hands, token: str = issued.value) -> Admission:
                caller = await ready.caller("alice")
                async with hand.database.transaction() as tx:
                    admission = await hand.gate.admit(tx, token, caller, "db-1", HOME, ready.clock())
                    await tx.connection.execute(
                        tables.events.insert().values(
                            type="session.started",
                            at=ready.clock(),
                            actor_id="alice",
                            source_address="",
                            account="",
                            region="",
                            subject=admission.request.id,
                            summary="",
                        )
                    )
                    return admission

            results = await asyncio.gather(
                *(admit(hands[n % REPLICAS]) for n in range(5)),
                hands[1].requests.revoke(sam, request.life.id),
                *(admit(hands[n % REPLICAS]) for n in range(5)),
                return_exceptions=True,
            )
        for result in results:
            assert not isinstance(result, BaseException) or (
                isinstance(result, Refused) and result.reason == "ACCESS_ENDED"
            ), result
        told = await ready.events(request.life.id)
        assert "session.started" not in told[told.index("access_request.revoked") :]
        async with ready.database.read() as connection:
            assert await ready.gate.still_open(connection, request.life.id, ready.clock()) is not None


@pytest.mark.rule("R21")
async def test_no_policy_change_slips_between_decision_and_request(ready: World) -> None:
    """Each request pins the version that was in force when it was written."""
    root, alice = await ready.caller("root"), await ready.caller("alice")
    async with replicas(ready) as hands:
        await asyncio.gather(
            *(hands[0].policies.put(root, PolicyKind.AUTO, HOME, AUTO + f"// {n}\n") for n in range(10)),
            *(hands[n % REPLICAS].requests.start(alice, Ask(HOME, "web-1", f"race {n}")) for n in range(30)),
        )
    async with ready.database.read() as connection:
        rows = (await connection.execute(tables.events.select().order_by(tables.events.c.sequence))).all()
    version, seen = 0, 0
    for row in rows:
        if row.subject == "auto/default/default/auto-approval":
            version = row.details["version"]
        elif row.type == "access_request.approved":
            assert row.details["policy"]["version"] == version
            seen += 1
    assert (version, seen) == (11, 30)


async def test_one_idempotency_key_at_several_replicas(ready: World) -> None:
    alice = await ready.caller("alice")
    async with replicas(ready) as hands:
        made = await asyncio.gather(
            *(
                hands[n % REPLICAS].requests.start(
                    alice, Ask(HOME, "db-1", "again and again", idempotency_key="k" * 20)
                )
                for n in range(20)
            )
        )
    assert len({request.life.id for request in made}) == 1
    assert len((await ready.rows())["access_requests"]) == 1


@pytest.mark.rule("R24")
async def test_tokens_asked_for_at_once_stay_five(ready: World) -> None:
    request, alice = await ready.approved(), await ready.caller("alice")
    async with replicas(ready) as hands:
        await asyncio.gather(*(hands[n % REPLICAS].tokens.issue(alice, request.life.id) for n in range(20)))
    place = list(tables.access_tokens.c.keys()).index("revoked_at")
    assert sum(row[place] is None for row in (await ready.rows())["access_tokens"]) == 5


async def test_a_row_that_changed_without_a_lock_is_not_overwritten(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    await ready.requests.approve(await ready.caller("sam"), request.life.id)
    before = await ready.rows()
    with pytest.raises(RuntimeError, match="lock"):  # noqa: PT012 - the block is what must not be committed
        async with ready.database.transaction() as tx:
            stale = AccessRequest(request.life, request.node_name, request.explanation, request.revision + 1)
            await requests.save(tx.connection, stale)
    assert await ready.rows() == before


DIES = """
import asyncio, os, signal, sys
from gateway.store import events
from gateway.store.database import Transaction
from tests.gateway.access.world import Hands, SetClock, World
from pathlib import Path

async def main(url, request_id):
    world = World(Path(), url)
    sam = await world.caller("sam")
    append = events.append

    async def dying(connection, *new):
        await append(connection, *new)
        os.kill(os.getpid(), signal.SIGKILL)  # everything is written, nothing is committed

    events.append = dying
    await world.requests.approve(sam, request_id)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_in_the_middle_of_a_decision(ready: World) -> None:
    request = await ready.ask("alice", "db-1")
    before = await ready.rows()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES, ready.url, request.life.id)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert await ready.rows() == before
    decided = await ready.requests.approve(await ready.caller("sam"), request.life.id)
    assert decided.life.current_level == 1

"""How many requests of one person may wait for a decision."""

import asyncio
from collections import Counter

from approvals.model import Status
from gateway.access.model import AccessRequest
from gateway.access.requests import AccessRequests, Ask
from gateway.errors import Refused
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import HOME, Hands, World

LIMIT = 3


def limited(hands: Hands, world: World) -> AccessRequests:
    return AccessRequests(hands.database, world.clock, hands.transitions, hands.compiled, max_pending=LIMIT)


def asked(node: str, key: str | None = None) -> Ask:
    return Ask(HOME, node, "fix the disk", idempotency_key=key)


async def test_one_more_than_the_limit_is_refused_and_leaves_no_trace(ready: World) -> None:
    requests, alice = limited(ready, ready), await ready.caller("alice")
    pending = [await requests.start(alice, asked("db-1", f"key-{n}")) for n in range(LIMIT)]
    async with refused(ready, "PENDING_LIMIT"):
        await requests.start(alice, asked("db-1"))
    assert (await requests.start(alice, asked("db-1", "key-0"))).life.id == pending[0].life.id
    assert (await requests.start(await ready.caller("bob"), asked("db-1"))).life.status is Status.PENDING


async def test_what_is_approved_at_once_or_no_longer_waits_does_not_count(ready: World) -> None:
    requests, alice = limited(ready, ready), await ready.caller("alice")
    for _ in range(LIMIT + 1):
        assert (await requests.start(alice, asked("web-1"))).life.status is Status.APPROVED
    pending = [await requests.start(alice, asked("db-1")) for _ in range(LIMIT)]
    assert (await requests.start(alice, asked("web-1"))).life.status is Status.APPROVED
    await requests.cancel(alice, pending[0].life.id)
    await requests.start(alice, asked("db-1"))
    async with refused(ready, "PENDING_LIMIT"):
        await requests.start(alice, asked("db-1"))


async def test_asking_at_one_moment_does_not_get_beyond_it(ready: World) -> None:
    replicas = [Hands(ready.url, ready.clock) for _ in range(3)]
    alice = await ready.caller("alice")
    try:
        calls = [limited(hands, ready).start(alice, asked("db-1")) for hands in replicas for _ in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        for hands in replicas:
            await hands.database.close()
    counted = Counter(answer.reason if isinstance(answer, Refused) else type(answer) for answer in answers)
    assert counted == {AccessRequest: LIMIT, "PENDING_LIMIT": 15 - LIMIT}

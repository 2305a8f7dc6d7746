"""Escalation and fresh sign-ins, from the policy's text to the decision."""

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.model import Status
from gateway.access.visibility import sees
from gateway.store.requests import Filter
from policy.model import PolicyKind
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import World

BATCH = "i-0000000000000ba7c"
ESCALATING = """
name: south
accessHours: 2
targets: [{tag: Site, values: [south]}]
levels: [{approvers: [{group: sre}], escalateAfterHours: 4, escalateTo: [{user: olga}]}]
"""
STRICT = """
name: south
accessHours: 2
targets: [{tag: Site, values: [south]}]
levels: [{approvers: [{group: sre}], signInWithinMinutes: 5}]
"""


@pytest.mark.rule("R22")
async def test_those_to_whom_a_level_escalates_see_the_request_at_once_and_decide_later(ready: World) -> None:
    await ready.node(BATCH, "batch-1", {"Site": "south"})
    await ready.put(PolicyKind.MANUAL, ESCALATING)
    request = await ready.ask("bob", "batch-1")
    olga = await ready.caller("olga")
    assert sees(olga, request)
    async with refused(ready, "NOT_ELIGIBLE"):
        await ready.requests.approve(olga, request.life.id)
    ready.clock.advance(hours=4)
    approved = await ready.requests.approve(await ready.caller("olga"), request.life.id)
    assert approved.life.status is Status.APPROVED


async def test_a_level_that_wants_a_fresh_sign_in(ready: World) -> None:
    await ready.node(BATCH, "batch-1", {"Site": "south"})
    await ready.put(PolicyKind.MANUAL, STRICT)
    request = await ready.ask("bob", "batch-1")
    sam = await ready.caller("sam")
    for at in (None, ready.clock() - timedelta(minutes=6)):
        async with refused(ready, "STEP_UP_NEEDED"):
            await ready.requests.approve(replace(sam, signed_in_at=at), request.life.id)
    waiting, _ = await ready.reader.waiting_for(sam, Filter(), 10)
    assert [one.life.id for one in waiting] == [request.life.id]  # it is shown all the same
    approved = await ready.requests.approve(replace(sam, signed_in_at=ready.clock()), request.life.id)
    assert approved.life.status is Status.APPROVED

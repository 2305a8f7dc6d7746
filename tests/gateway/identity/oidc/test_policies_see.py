"""What a sign-in brings along is what policies decide on, and not for longer than it is fresh (R31)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from approvals.model import Status
from gateway.access.tokens import IssuedToken
from gateway.identity.model import Role, RoleGrant, User
from gateway.identity.oidc import people
from gateway.identity.oidc.claims import Person
from policy.model import PolicyKind
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import HOME, World, manual

ISSUER = "https://login.example.com"
ELEVATED = """\
permit(principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
when {
    context.iam.principalTags.hasTag("AccessLevel") &&
    context.iam.principalTags.getTag("AccessLevel") == "Elevated" &&
    principal has costCenter && principal.costCenter == "R-7"
};
"""
FRIDA = Person("u-7", "frida", "Frida", frozenset({"sre"}), {"costCenter": "R-7"}, {"AccessLevel": "Elevated"})


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    built = World(tmp_path, database_url)
    try:
        await built.build()
        await built.put(PolicyKind.AUTO, ELEVATED)
        yield built
    finally:
        await built.database.close()


async def signs_in(world: World, person: Person = FRIDA) -> User:
    """As the last step of a sign-in does it."""
    async with world.database.transaction() as tx:
        return await people.admit(
            tx, person, ISSUER, world.ender, create=True, now=world.clock(), source_address="192.0.2.77"
        )


async def asking(world: World, person: Person = FRIDA) -> None:
    await signs_in(world, person)
    await world.grant(RoleGrant("user", "frida", Role.USER))


def without_tag(tags: Mapping[str, str] | None = None) -> Person:
    return replace(FRIDA, principal_tags=tags or {})


@pytest.mark.rule("R31")
async def test_principal_tags_and_attributes_decide_and_are_explained(world: World) -> None:
    await asking(world)
    request = await world.ask("frida", "web-1")
    assert request.life.status is Status.APPROVED
    principal: Any = request.explanation["principal"]
    assert principal["principal_tags"] == {"AccessLevel": "Elevated"}
    assert principal["attributes"] == {"costCenter": "R-7"}


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    "person",
    [without_tag(), without_tag({"AccessLevel": "elevated"}), replace(FRIDA, attributes={})],
    ids=["no tag", "another tag", "no attribute"],
)
async def test_without_the_tag_or_attribute_nothing_is_approved(world: World, person: Person) -> None:
    await asking(world, person)
    assert (await world.ask("frida", "web-1")).life.status is Status.FAILED


@pytest.mark.rule("R31")
async def test_a_tag_that_is_gone_at_the_next_sign_in_takes_the_window_with_it(world: World) -> None:
    await asking(world)
    request = await world.ask("frida", "web-1")
    world.clock.advance(minutes=5)
    await signs_in(world)
    assert (await world.reader.get(await world.caller("frida"), request.life.id)).life.status is Status.APPROVED
    await signs_in(world, without_tag())
    assert (await world.reader.get(await world.caller("frida"), request.life.id)).life.status is Status.REVOKED


@pytest.mark.rule("R31")
async def test_stale_membership_refuses_until_the_next_sign_in(world: World) -> None:
    await asking(world)
    world.clock.advance(hours=23, minutes=59)
    request = await world.ask("frida", "web-1")
    issued = await world.tokens.issue(await world.caller("frida"), request.life.id)
    assert isinstance(issued, IssuedToken)

    async def session() -> None:
        async with world.database.transaction() as tx:
            await world.gate.admit(tx, issued.value, await world.caller("frida"), "web-1", HOME, world.clock())

    await session()
    world.clock.advance(minutes=2)
    async with refused(world, "STALE_MEMBERSHIP"):
        await session()
    async with refused(world, "STALE_MEMBERSHIP"):
        await world.ask("frida", "web-1")
    await signs_in(world)
    await session()
    assert (await world.ask("frida", "web-1")).life.status is Status.APPROVED


@pytest.mark.rule("R17")
@pytest.mark.rule("R31")
async def test_an_approver_with_stale_membership_cannot_decide(world: World) -> None:
    await signs_in(world)  # a member of sre, whom the first level names
    await world.put(PolicyKind.MANUAL, manual())
    world.clock.advance(hours=24, seconds=1)
    request = await world.ask("alice", "db-1")
    async with refused(world, "STALE_MEMBERSHIP"):
        await world.requests.approve(await world.caller("frida"), request.life.id)
    await signs_in(world)
    approved = await world.requests.approve(await world.caller("frida"), request.life.id)
    assert approved.life.current_level == 1


@pytest.mark.rule("R31")
async def test_who_left_the_group_at_the_provider_cannot_decide(world: World) -> None:
    await signs_in(world)
    await world.put(PolicyKind.MANUAL, manual())
    request = await world.ask("alice", "db-1")
    await signs_in(world, replace(FRIDA, groups=frozenset({"web"})))
    async with refused(world, "REQUEST_NOT_FOUND"):  # nor see it
        await world.requests.approve(await world.caller("frida"), request.life.id)

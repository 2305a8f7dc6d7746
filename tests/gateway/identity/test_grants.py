import asyncio
from collections.abc import Awaitable

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.model import Role, RoleGrant
from jitgate.v1 import annotations_pb2 as declared
from tests.gateway.identity.conftest import House, role

pytestmark = pytest.mark.rule("R32")


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def test_a_role_is_given_listed_and_taken_and_each_is_an_event(house: House) -> None:
    admin = await house.administrator()
    alice = await house.person(admin, "alice")
    grant = role("alice", Role.AUDITOR, "production", "*")
    await house.grants.grant(admin, grant)
    assert grant in await house.grants.all(admin)
    assert (await house.again(alice)).may(declared.PERMISSION_READ_EVENTS, "production", "eu")
    await house.grants.revoke(admin, grant)
    assert grant not in await house.grants.all(admin)
    assert not (await house.again(alice)).may(declared.PERMISSION_READ_EVENTS)
    given, taken = await house.events("role.")
    assert (given.type, taken.type) == ("role.granted", "role.revoked")
    assert (given.subject, given.actor_id, given.account, given.region) == ("alice", "root", "production", "")
    assert given.summary == "root gave auditor in account production, Region * to user alice"
    assert taken.details["role"] == "auditor"


async def test_giving_again_changes_nothing(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice", role("alice", Role.USER))
    before = await house.events()
    await house.grants.grant(admin, role("alice", Role.USER))
    assert await house.events() == before


@pytest.mark.parametrize("holder", [("user", "alice"), ("group", "sre")])
async def test_of_those_who_give_a_role_at_one_moment_the_first_does_and_the_others_change_nothing(
    house: House, holder: tuple[str, str]
) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    grant = RoleGrant(*holder, Role.AUDITOR, "default", "default")
    await asyncio.gather(*(house.grants.grant(admin, grant) for _ in range(8)))
    assert (await house.grants.all(admin)).count(grant) == 1
    assert len(await house.events("role.granted")) == 1


async def test_policy_kinds_that_are_given_at_one_moment_add_up(house: House) -> None:
    admin = await house.administrator()
    each = [
        RoleGrant("group", "sre", Role.POLICY_ADMINISTRATOR, "default", "default", frozenset({kind}))
        for kind in ("auto", "manual")
    ]
    await asyncio.gather(*(house.grants.grant(admin, grant) for grant in each * 3))
    [held] = [grant for grant in await house.grants.all(admin) if grant.holder_id == "sre"]
    assert held.policy_kinds == {"auto", "manual"}


async def test_policy_kinds_add_up_and_are_taken_one_by_one(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")

    def kinds(*names: str) -> RoleGrant:
        return role("alice", Role.POLICY_ADMINISTRATOR, "default", "default", *names)

    await house.grants.grant(admin, kinds("manual"))
    await house.grants.grant(admin, kinds("auto"))
    assert kinds("auto", "manual") in await house.grants.all(admin)
    await house.grants.revoke(admin, kinds("auto"))
    assert kinds("manual") in await house.grants.all(admin)
    assert (await refusal(house.grants.revoke(admin, kinds("auto")))).reason == "ROLE_NOT_FOUND"
    await house.grants.revoke(admin, kinds("manual"))
    assert len(await house.grants.all(admin)) == 1


async def test_naming_no_kind_takes_the_whole_role(house: House) -> None:
    admin = await house.administrator()
    held = role("alice", Role.POLICY_ADMINISTRATOR, "default", "default", "auto", "manual")
    await house.person(admin, "alice", held)
    await house.grants.revoke(admin, role("alice", Role.POLICY_ADMINISTRATOR))
    assert held not in await house.grants.all(admin)


async def test_a_role_taken_away_ends_what_rests_on_it(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice", role("alice", Role.USER))
    await house.grants.revoke(admin, role("alice", Role.USER))
    assert house.endings.calls == [("role_revoked", "alice", "user", "root")]


async def test_a_group_may_be_given_a_role_before_it_has_members(house: House) -> None:
    admin = await house.administrator()
    await house.grants.grant(admin, RoleGrant("group", "SRE", Role.USER))
    caller = await house.person(admin, "alice", groups=("SRE",))
    assert caller.may(declared.PERMISSION_REQUEST_ACCESS, "default", "default")


@pytest.mark.parametrize(
    ("grant", "field"),
    [
        (role("alice", Role.USER, "a b"), "grant.account"),
        (role("alice", Role.USER, ""), "grant.account"),
        (role("alice", Role.USER, "**"), "grant.account"),
        (role("alice", Role.USER, "default", "x" * 65), "grant.region"),
        (role("alice", Role.USER, "default", "default", "manual"), "grant.policy_kinds"),
        (role("alice", Role.POLICY_ADMINISTRATOR), "grant.policy_kinds"),
        (role("alice", Role.POLICY_ADMINISTRATOR, "default", "default", "all"), "grant.policy_kinds"),
        (role("alice", Role.POLICY_ADMINISTRATOR, "default", "default", "deny"), "grant.policy_kinds"),
        (role("alice", Role.POLICY_ADMINISTRATOR, "*", "default", "deny"), "grant.policy_kinds"),
        (role("alice", Role.POLICY_ADMINISTRATOR, "default", "*", "deny", "auto"), "grant.policy_kinds"),
        (role("alice", Role.ORGANIZATION_ADMINISTRATOR), "grant.account"),
        (role("alice", Role.ORGANIZATION_ADMINISTRATOR, "*", "default"), "grant.account"),
        (RoleGrant("group", "a b", Role.USER), "grant.group_id"),
    ],
)
async def test_a_grant_that_cannot_be_names_its_field(house: House, grant: RoleGrant, field: str) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    refused = await refusal(house.grants.grant(admin, grant))
    assert (refused.reason, refused.fields[0].field) == ("INVALID_FIELD", field)
    assert len(await house.grants.all(admin)) == 1


async def test_nobody_is_given_a_role_and_no_role_is_taken_that_is_not_there(house: House) -> None:
    admin = await house.administrator()
    unknown = await refusal(house.grants.grant(admin, role("ghost", Role.USER)))
    assert (unknown.kind, unknown.reason) == (Kind.NOT_FOUND, "USER_NOT_FOUND")
    missing = await refusal(house.grants.revoke(admin, role("root", Role.AUDITOR)))
    assert (missing.kind, missing.reason) == (Kind.NOT_FOUND, "ROLE_NOT_FOUND")
    elsewhere = role("root", Role.ORGANIZATION_ADMINISTRATOR, "*", "default")
    assert (await refusal(house.grants.revoke(admin, elsewhere))).reason == "ROLE_NOT_FOUND"


async def test_roles_are_listed_for_those_who_read_the_directory_only(house: House) -> None:
    admin = await house.administrator()
    auditor = await house.person(admin, "auditor", role("auditor", Role.AUDITOR))
    user = await house.person(admin, "user", role("user", Role.USER))
    assert len(await house.grants.all(auditor)) == 3
    assert (await refusal(house.grants.all(user))).reason == "NOT_PERMITTED"

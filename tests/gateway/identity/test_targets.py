from collections.abc import Awaitable

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.model import Role
from gateway.store import targets
from tests.gateway.identity.conftest import House, role

pytestmark = pytest.mark.rule("R4")


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def enabled(house: House, account: str, region: str) -> bool:
    async with house.database.read() as connection:
        return await targets.is_enabled(connection, account, region)


async def test_access_is_enabled_and_disabled_by_account_and_region(house: House) -> None:
    admin = await house.administrator()
    target = await house.targets.set(admin, "production", "eu", enabled=True)
    assert (target.enabled, target.changed_by, target.changed_at) == (True, "root", house.time())
    assert await enabled(house, "production", "eu")
    assert not await enabled(house, "production", "us")
    assert house.endings.calls == []
    await house.targets.set(admin, "production", "eu", enabled=False)
    assert not await enabled(house, "production", "eu")
    assert house.endings.calls == [("scope_disabled", "production", "eu", "root")]
    told = [(event.type, event.account, event.region) for event in await house.events("target.")]
    assert told == [("target.enabled", "production", "eu"), ("target.disabled", "production", "eu")]


async def test_what_was_disabled_already_ends_nothing(house: House) -> None:
    admin = await house.administrator()
    await house.targets.set(admin, "new", "eu", enabled=False)
    await house.targets.set(admin, "new", "eu", enabled=False)
    assert house.endings.calls == []


async def test_a_unit_is_set_as_a_whole_or_in_one_region(house: House) -> None:
    admin = await house.administrator()
    for account, region in (("a", "eu"), ("a", "us"), ("b", "eu")):
        await house.targets.set(admin, account, region, enabled=True, organizational_unit="shops")
    await house.targets.set(admin, "c", "eu", enabled=True)
    changed = await house.targets.set_unit(admin, "shops", "eu", enabled=False)
    assert [(target.account, target.region) for target in changed] == [("a", "eu"), ("b", "eu")]
    assert house.endings.calls == [
        ("scope_disabled", "a", "eu", "root"),
        ("scope_disabled", "b", "eu", "root"),
    ]
    assert await enabled(house, "a", "us")
    assert await enabled(house, "c", "eu")
    assert len(await house.targets.set_unit(admin, "shops", "", enabled=True)) == 3
    assert await enabled(house, "a", "eu")


async def test_an_account_stays_in_its_unit_unless_another_is_named(house: House) -> None:
    admin = await house.administrator()
    await house.targets.set(admin, "a", "eu", enabled=True, organizational_unit="shops")
    assert (await house.targets.set(admin, "a", "eu", enabled=False)).organizational_unit == "shops"
    moved = await house.targets.set(admin, "a", "eu", enabled=True, organizational_unit="banks")
    assert moved.organizational_unit == "banks"
    refused = await refusal(house.targets.set_unit(admin, "shops", "", enabled=False))
    assert (refused.kind, refused.reason) == (Kind.NOT_FOUND, "UNIT_NOT_FOUND")


async def test_everybody_sees_where_there_is_a_role_to_play(house: House) -> None:
    admin = await house.administrator()
    await house.targets.set(admin, "production", "eu", enabled=True)
    alice = await house.person(admin, "alice", role("alice", Role.USER, "production", "*"))
    bob = await house.person(admin, "bob")
    assert [target.account for target in await house.targets.all(admin)] == ["default", "production"]
    assert [target.account for target in await house.targets.all(alice)] == ["production"]
    assert await house.targets.all(bob) == []


@pytest.mark.parametrize(
    ("account", "region", "unit", "field"),
    [
        ("*", "eu", "", "scope.account"),
        ("", "eu", "", "scope.account"),
        ("a", "e u", "", "scope.region"),
        ("a", "eu", "-", "organizational_unit"),
        ("a", "eu", "x" * 65, "organizational_unit"),
    ],
)
async def test_a_place_that_cannot_be_names_its_field(
    house: House, account: str, region: str, unit: str, field: str
) -> None:
    admin = await house.administrator()
    change = house.targets.set(admin, account, region, enabled=True, organizational_unit=unit)
    assert (await refusal(change)).fields[0].field == field
    assert len(await house.targets.all(admin)) == 1


@pytest.mark.rule("R32")
async def test_a_unit_is_changed_by_nobody_else_not_even_in_part(house: House) -> None:
    admin = await house.administrator()
    await house.targets.set(admin, "a", "eu", enabled=True, organizational_unit="shops")
    other = await house.person(admin, "other", role("other", Role.NODE_ADMINISTRATOR, "*", "*"))
    assert (await refusal(house.targets.set_unit(other, "shops", "", enabled=False))).reason == "NOT_PERMITTED"
    assert await enabled(house, "a", "eu")

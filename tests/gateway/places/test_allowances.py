"""Who allows accounts what of AWS, who sees it, and what preferences may name then."""

import dataclasses
from collections.abc import Awaitable

import pytest
from sqlalchemy import update

from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role
from gateway.places.model import OWN, Allowance, AllowanceKind, Choice
from gateway.places.service import Allowances
from gateway.store import tables
from gateway.store.preferences import Preferences
from recorder.errors import UnfitStore
from tests.gateway.identity.conftest import House, house, role, time
from tests.gateway.places.examples import ALLOWED, BUCKET, CHOICE, GROUP, KEY, OWNER, WRITER

__all__ = ["house", "time"]  # fixtures
pytestmark = [pytest.mark.rule("R26"), pytest.mark.rule("R32")]
CHOSEN = Preferences(recording_place=CHOICE)


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


@pytest.fixture
def allowances(house: House) -> Allowances:
    return Allowances(house.database, house.changes, house.time)


@pytest.fixture
async def admin(house: House, allowances: Allowances) -> Caller:
    caller = await house.administrator()
    for each in ALLOWED:
        await allowances.allow(caller, each)
    return caller


async def test_the_organization_allows_and_every_change_is_an_event(
    house: House, allowances: Allowances, admin: Caller
) -> None:
    stored = await allowances.of(admin, "shop")
    assert [dataclasses.replace(each, changed_at=None, changed_by="") for each in stored] == list(ALLOWED)
    assert {(each.changed_at, each.changed_by) for each in stored} == {(house.time(), "root")}
    moved = dataclasses.replace(ALLOWED[0], owner="999988887777")
    await allowances.allow(admin, moved)
    await allowances.disallow(admin, "shop", AllowanceKind.KEY, KEY)
    assert [each.kind for each in await allowances.of(admin)] == [
        AllowanceKind.BUCKET,
        AllowanceKind.ROLE,
        AllowanceKind.ROLE,
    ]
    *_, changed, removed = await house.events("allowance.")
    assert (changed.type, changed.account, changed.actor_id) == ("allowance.changed", "shop", "root")
    assert (changed.details["before"]["owner"], changed.details["after"]["owner"]) == (OWNER, "999988887777")
    assert (removed.type, removed.details["name"], removed.details["after"]) == ("allowance.removed", KEY, None)
    assert "withdrew the key" in removed.summary
    assert [each.type for each in await house.events("allowance.")].count("allowance.added") == len(ALLOWED)


async def test_nobody_below_the_organization_allows_anything(
    house: House, allowances: Allowances, admin: Caller
) -> None:
    local = await house.person(
        admin,
        "lena",
        role("lena", Role.NODE_ADMINISTRATOR, "shop", "*"),
        role("lena", Role.POLICY_ADMINISTRATOR, "*", "*", "manual", "auto", "deny"),
        role("lena", Role.AUDITOR, "*", "*"),
    )
    before = await house.events()
    for call in (
        allowances.allow(local, Allowance("shop", AllowanceKind.KEY, KEY)),
        allowances.disallow(local, "shop", AllowanceKind.KEY, KEY),
    ):
        assert (await refusal(call)).reason == "NOT_PERMITTED"
    assert await house.events() == before
    assert [each.name for each in await allowances.of(local)] == [each.name for each in ALLOWED]


async def test_what_is_allowed_may_be_chosen(house: House, admin: Caller) -> None:
    assert await house.preferences.put(admin, "shop", "eu", CHOSEN) == CHOSEN
    assert await house.preferences.get(admin, "shop", "eu") == CHOSEN


async def test_allowances_show_to_those_who_may_read_the_accounts_preferences(
    house: House, allowances: Allowances, admin: Caller
) -> None:
    other = await house.person(admin, "nora", role("nora", Role.AUDITOR, "bank", "*"))
    assert await allowances.of(other) == []
    assert await allowances.of(other, "shop") == []


async def test_withdrawing_what_is_not_there_says_so(allowances: Allowances, admin: Caller) -> None:
    call = allowances.disallow(admin, "bank", AllowanceKind.BUCKET, BUCKET)
    assert (await refusal(call)).reason == "ALLOWANCE_NOT_FOUND"


async def test_preferences_that_name_what_is_not_allowed_change_nothing(house: House, admin: Caller) -> None:
    assert (await refusal(house.preferences.put(admin, "bank", "eu", CHOSEN))).reason == "NOT_ALLOWED"
    stranger = dataclasses.replace(CHOSEN, recording_place=Choice(bucket="elsewhere", role=WRITER))
    assert (await refusal(house.preferences.put(admin, "shop", "eu", stranger))).reason == "NOT_ALLOWED"
    logged = Preferences(recording_place=Choice(role=WRITER), log_sessions=True, log_group=GROUP)
    assert "log group" in (await refusal(house.preferences.put(admin, "shop", "eu", logged))).message
    assert await house.preferences.get(admin, "shop", "eu") == Preferences()
    assert house.examinations.places == []
    assert await house.events("preferences.") == []


async def test_a_place_is_tried_out_when_it_is_chosen_and_not_again_when_something_else_changes(
    house: House, admin: Caller
) -> None:
    house.examinations.failure = UnfitStore("the bucket has no Object Lock")
    refused = await refusal(house.preferences.put(admin, "shop", "eu", CHOSEN))
    assert refused.reason == "PLACE_UNUSABLE"
    assert "has no Object Lock" in refused.message
    assert await house.preferences.get(admin, "shop", "eu") == Preferences()
    house.examinations.failure = None
    await house.preferences.put(admin, "shop", "eu", CHOSEN)
    assert [place.bucket for place in house.examinations.places] == [BUCKET, BUCKET]
    house.examinations.failure = UnfitStore("AWS is away")
    await house.preferences.put(admin, "shop", "eu", dataclasses.replace(CHOSEN, idle_timeout_minutes=1))
    await house.preferences.put(admin, "shop", "eu", Preferences(recording_place=OWN))
    assert len(house.examinations.places) == 2


async def test_preferences_from_before_there_were_places_are_read(house: House, admin: Caller) -> None:
    await house.preferences.put(admin, "shop", "eu", Preferences(idle_timeout_minutes=7))
    old = {
        "maximum_duration_minutes": 0,
        "idle_timeout_minutes": 7,
        "run_as": "",
        "shell_profile": "",
        "recording": "strict",
        "record_input_content": False,
    }
    async with house.database.transaction() as tx:
        await tx.connection.execute(update(tables.preferences).values(document=old))
    assert await house.preferences.get(admin, "shop", "eu") == Preferences(idle_timeout_minutes=7)

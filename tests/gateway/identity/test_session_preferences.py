from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.identity.model import Role
from gateway.places.model import Choice
from gateway.store import preferences
from gateway.store.preferences import Preferences, RecordingMode
from tests.gateway.identity.conftest import LONGEST_LOCK_DAYS, House, role

pytestmark = pytest.mark.rule("R26")
CHANGED = Preferences(60, 5, "ubuntu", "cd /srv", RecordingMode.BEST_EFFORT, True)


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def test_where_nobody_said_anything_recording_is_strict_and_idle_sessions_end(house: House) -> None:
    admin = await house.administrator()
    assert await house.preferences.get(admin, "default", "default") == Preferences(
        maximum_duration_minutes=0,
        idle_timeout_minutes=20,
        run_as="",
        shell_profile="",
        recording=RecordingMode.STRICT,
        record_input_content=False,
    )


async def test_they_are_replaced_as_a_whole_where_they_are_put_and_it_is_an_event(house: House) -> None:
    admin = await house.administrator()
    assert await house.preferences.put(admin, "production", "eu", CHANGED) == CHANGED
    assert await house.preferences.get(admin, "production", "eu") == CHANGED
    assert await house.preferences.get(admin, "production", "us") == Preferences()
    await house.preferences.put(admin, "production", "eu", Preferences(idle_timeout_minutes=0))
    assert await house.preferences.get(admin, "production", "eu") == Preferences(idle_timeout_minutes=0)
    first, second = await house.events("preferences.")
    assert (first.type, first.account, first.region) == ("preferences.changed", "production", "eu")
    assert first.details["before"]["recording"] == "strict"
    assert second.details["before"]["recording"] == "best_effort"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maximum_duration_minutes", -1),
        ("maximum_duration_minutes", 1441),
        ("idle_timeout_minutes", -1),
        ("idle_timeout_minutes", 61),
        ("run_as", "Root"),
        ("run_as", "-x"),
        ("run_as", "a" * 33),
        ("run_as", "a;b"),
        ("shell_profile", "x" * 1025),
        ("shell_profile", "a\0b"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        Preferences(**{field: value})
    assert caught.value.fields[0].field == f"preferences.{field}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maximum_duration_minutes", 1),
        ("maximum_duration_minutes", 1440),
        ("idle_timeout_minutes", 1),
        ("idle_timeout_minutes", 60),
        ("run_as", "_svc.web-1"),
        ("shell_profile", "x" * 1024),
    ],
)
def test_values_at_their_bounds_are_good(field: str, value: Any) -> None:
    Preferences(**{field: value})


def locked(days: int, mode: str = "compliance", **changed: Any) -> Preferences:
    """Nothing but a lock in the gateway's own bucket: no allowance has a say in that."""
    return Preferences(recording_place=Choice(retention_mode=mode, retention_days=days), **changed)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
async def test_objects_are_locked_no_longer_than_the_operator_allows(house: House, mode: str) -> None:
    admin = await house.administrator()
    longest = locked(LONGEST_LOCK_DAYS, mode)
    assert await house.preferences.put(admin, "shop", "eu", longest) == longest
    before, tried = await house.events("preferences."), len(house.examinations.places)
    refused = await refusal(house.preferences.put(admin, "shop", "eu", locked(LONGEST_LOCK_DAYS + 1, mode)))
    assert [each.field for each in refused.fields] == ["preferences.recording_place.retention_days"]
    assert f"must be at most {LONGEST_LOCK_DAYS} days" in refused.message
    assert "recordings.longest_object_lock_days" in refused.what_to_do
    assert await house.preferences.get(admin, "shop", "eu") == longest
    assert await house.events("preferences.") == before
    assert len(house.examinations.places) == tried


async def test_a_lock_from_before_the_bound_shows_and_is_not_put_again(house: House) -> None:
    admin = await house.administrator()
    old = locked(36500)
    async with house.database.transaction() as tx:
        await preferences.put(tx.connection, "shop", "eu", old, at=house.time(), by="root")
    assert await house.preferences.get(admin, "shop", "eu") == old
    refused = await refusal(house.preferences.put(admin, "shop", "eu", locked(36500, idle_timeout_minutes=5)))
    assert "jit preferences set --retention" in refused.what_to_do
    shorter = locked(400, idle_timeout_minutes=5)
    assert await house.preferences.put(admin, "shop", "eu", shorter) == shorter


async def test_who_may_not_set_preferences_learns_nothing_of_the_bound(house: House) -> None:
    admin = await house.administrator()
    user = await house.person(admin, "user", role("user", Role.USER))
    assert (await refusal(house.preferences.put(user, "shop", "eu", locked(36500)))).reason == "NOT_PERMITTED"


@pytest.mark.rule("R32")
async def test_node_administrators_and_auditors_read_them_at_home_and_write_nowhere(house: House) -> None:
    admin = await house.administrator()
    for what in (Role.NODE_ADMINISTRATOR, Role.AUDITOR):
        caller = await house.person(admin, what.value, role(what.value, what))
        assert await house.preferences.get(caller, "default", "default") == Preferences()
        assert (await refusal(house.preferences.get(caller, "production", "eu"))).reason == "NOT_PERMITTED"
        put = house.preferences.put(caller, "default", "default", CHANGED)
        assert (await refusal(put)).reason == "NOT_PERMITTED"
    user = await house.person(admin, "user", role("user", Role.USER))
    assert (await refusal(house.preferences.get(user, "default", "default"))).reason == "NOT_PERMITTED"

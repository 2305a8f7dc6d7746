import asyncio
from collections.abc import Awaitable

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.store.events import Event
from tests.gateway.identity.conftest import PASSWORD, House, role

pytestmark = pytest.mark.rule("R31")


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def everybody_but_administrators(house: House, admin: Caller) -> list[Caller]:
    return [
        await house.person(admin, what.value, role(what.value, what, "*", "*", *_kinds(what)))
        for what in Role
        if what is not Role.ORGANIZATION_ADMINISTRATOR
    ]


def _kinds(what: Role) -> tuple[str, ...]:
    return ("deny", "auto", "manual") if what is Role.POLICY_ADMINISTRATOR else ()


async def last(house: House) -> Event:
    return (await house.events())[-1]


class TestCreate:
    async def test_a_user_has_what_was_given_and_it_is_an_event(self, house: House) -> None:
        admin = await house.administrator()
        user, initial = await house.directory.create(
            admin, "alice", "Alice", ["sre", "Night-Shift"], {"costCenter": "42", "division": ""}
        )
        assert user.display_name == "Alice"
        assert user.groups == {"sre", "Night-Shift"}
        assert user.attributes == {"costCenter": "42"}
        assert len(initial) == 29
        event = await last(house)
        assert (event.type, event.subject, event.actor_id) == ("user.created", "alice", "root")

    async def test_an_id_is_given_once_for_ever(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice")
        assert (await refusal(house.directory.create(admin, "alice"))).reason == "USER_ID_TAKEN"
        await house.directory.remove(admin, "alice")
        refused = await refusal(house.directory.create(admin, "alice"))
        assert (refused.kind, refused.reason) == (Kind.ALREADY_EXISTS, "USER_ID_TAKEN")

    async def test_of_two_who_take_an_id_at_once_one_gets_it(self, house: House) -> None:
        admin = await house.administrator()
        outcomes = await asyncio.gather(
            *(house.directory.create(admin, "alice") for _ in range(4)), return_exceptions=True
        )
        assert [getattr(outcome, "reason", "made") for outcome in outcomes].count("made") == 1

    @pytest.mark.parametrize(
        ("user_id", "name", "groups", "attributes", "field"),
        [
            ("", "", [], {}, "id"),
            ("Alice", "", [], {}, "id"),
            ("a" * 65, "", [], {}, "id"),
            ("a\n", "", [], {}, "id"),
            ("alice", "x" * 129, [], {}, "display_name"),
            ("alice", "\x1b[2J", [], {}, "display_name"),
            ("alice", "", [""], {}, "groups"),
            ("alice", "", ["a b"], {}, "groups"),
            ("alice", "", [f"g{number}" for number in range(101)], {}, "groups"),
            ("alice", "", [], {"shoeSize": "42"}, "attributes"),
            ("alice", "", [], {"division": "x" * 257}, "attributes.division"),
            ("alice", "", [], {"division": "\x07"}, "attributes.division"),
        ],
    )
    async def test_bad_input_names_its_field_and_makes_nobody(
        self,
        house: House,
        user_id: str,
        name: str,
        groups: list[str],
        attributes: dict[str, str],
        field: str,
    ) -> None:
        admin = await house.administrator()
        before = await house.events()
        refused = await refusal(house.directory.create(admin, user_id, name, groups, attributes))
        assert (refused.reason, refused.fields[0].field) == ("INVALID_FIELD", field)
        assert await house.events() == before


class TestUpdate:
    async def test_what_is_given_changes_and_the_rest_stays(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice", "Alice", ["a", "b"], {"costCenter": "1", "division": "x"})
        user, initial = await house.directory.update(
            admin,
            "alice",
            add_groups=["b", "c"],
            remove_groups=["a", "never"],
            set_attributes={"costCenter": "2", "division": ""},
        )
        assert user.display_name == "Alice"
        assert user.groups == {"b", "c"}
        assert user.attributes == {"costCenter": "2"}
        assert initial == ""
        event = await last(house)
        assert event.type == "user.updated"
        assert event.details["before"]["groups"] == ["a", "b"]
        assert event.details["after"]["groups"] == ["b", "c"]

    async def test_what_policies_look_at_is_decided_again_and_a_new_name_is_not(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice", groups=["a"])
        await house.directory.update(admin, "alice", display_name="Alice")
        assert house.endings.calls == []
        await house.directory.update(admin, "alice", remove_groups=["a"])
        await house.directory.update(admin, "alice", set_attributes={"division": "x"})
        assert house.endings.calls == [("groups_changed", "alice", "root")] * 2

    async def test_nothing_changes_when_access_cannot_be_ended(self, house: House) -> None:
        admin = await house.administrator()
        alice = await house.person(admin, "alice", groups=("a",))
        before = await house.events()
        house.endings.fails = True
        for change in (
            house.directory.update(admin, "alice", remove_groups=["a"]),
            house.directory.remove(admin, "alice"),
            house.locks.lock_user(admin, "alice", "because"),
        ):
            with pytest.raises(RuntimeError):
                await change
        assert (await house.again(alice)).user.groups == {"a"}
        assert await house.events() == before

    async def test_a_new_first_password_replaces_the_old_one(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice")
        _, initial = await house.directory.update(admin, "alice", reset_password=True)
        assert (await last(house)).type == "user.password_reset"
        assert (await refusal(house.password("alice", PASSWORD))).reason == "SIGN_IN_FAILED"
        assert (await refusal(house.password("alice", initial))).reason == "PASSWORD_CHANGE_REQUIRED"

    async def test_nothing_given_is_no_event(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice")
        before = await house.events()
        house.time.forward(hours=1)
        await house.directory.update(admin, "alice")
        assert await house.events() == before

    async def test_bad_changes_are_refused(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice", groups=[f"g{number}" for number in range(100)])
        update = house.directory.update
        assert (await refusal(update(admin, "ghost"))).reason == "USER_NOT_FOUND"
        assert (await refusal(update(admin, "alice", add_groups=["one-more"]))).fields[0].field == "add_groups"
        both = update(admin, "alice", add_groups=["x"], remove_groups=["x"])
        assert (await refusal(both)).fields[0].field == "remove_groups"
        unknown = update(admin, "alice", set_attributes={"shoeSize": "1"})
        assert (await refusal(unknown)).fields[0].field == "set_attributes"
        control = update(admin, "alice", display_name="\n")
        assert (await refusal(control)).fields[0].field == "display_name"


class TestRemove:
    async def test_access_ends_and_nothing_of_the_person_works_any_more(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice", role("alice", Role.USER), groups=("sre",))
        await house.directory.remove(admin, "alice")
        assert house.endings.calls == [("user_removed", "alice", "root")]
        assert await house.grants.all(admin) == [role("root", Role.ORGANIZATION_ADMINISTRATOR, "*", "*")]
        assert (await last(house)).type == "user.removed"
        for change in (house.directory.remove(admin, "alice"), house.directory.update(admin, "alice")):
            assert (await refusal(change)).reason == "USER_NOT_FOUND"
        grant = house.grants.grant(admin, role("alice", Role.USER))
        assert (await refusal(grant)).reason == "USER_NOT_FOUND"
        assert (await refusal(house.locks.lock_user(admin, "alice", "x"))).reason == "USER_NOT_FOUND"


class TestListing:
    async def test_pages_by_id_groups_and_the_inactive(self, house: House) -> None:
        admin = await house.administrator()
        for user_id in ("dora", "alice", "bob", "carol"):
            await house.directory.create(admin, user_id, groups=["sre"] if user_id != "bob" else [])
        await house.directory.remove(admin, "dora")

        async def ids(after: str = "", limit: int = 10, group: str = "", inactive: bool = False) -> list[str]:
            found = await house.directory.page(
                admin, group_id=group, include_inactive=inactive, after=after, limit=limit
            )
            return [user.id for user in found]

        assert await ids() == ["alice", "bob", "carol", "root"]
        assert await ids(limit=2) == ["alice", "bob"]
        assert await ids(after="bob", limit=2) == ["carol", "root"]
        assert await ids(group="sre") == ["alice", "carol"]
        assert await ids(inactive=True) == ["alice", "bob", "carol", "dora", "root"]
        assert await ids(group="nobody") == []


@pytest.mark.rule("R32")
async def test_nobody_but_an_organization_administrator_changes_the_directory(house: House) -> None:
    admin = await house.administrator()
    others = await everybody_but_administrators(house, admin)
    before = await house.events()
    for other in others:
        changes: list[Awaitable[object]] = [
            house.directory.create(other, "new"),
            house.directory.update(other, "user", reset_password=True),
            house.directory.remove(other, "user"),
            house.grants.grant(other, role(other.user.id, Role.AUDITOR)),
            house.grants.revoke(other, role("user", Role.USER, "*", "*")),
            house.locks.lock_user(other, "user", "because"),
            house.locks.unlock_user(other, "user"),
            house.targets.set(other, "default", "default", enabled=False),
        ]
        for change in changes:
            refused = await refusal(change)
            assert (refused.kind, refused.reason) == (Kind.PERMISSION_DENIED, "NOT_PERMITTED")
    assert await house.events() == before
    assert house.endings.calls == []


class TestLastAdministrator:
    pytestmark = pytest.mark.rule("R32")
    top = role("root", Role.ORGANIZATION_ADMINISTRATOR, "*", "*")

    async def test_nobody_takes_the_last_one_away_in_any_way(self, house: House) -> None:
        admin = await house.administrator()
        for change in (
            house.grants.revoke(admin, self.top),
            house.directory.remove(admin, "root"),
            house.locks.lock_user(admin, "root", "because"),
        ):
            refused = await refusal(change)
            assert (refused.kind, refused.reason) == (Kind.FAILED_PRECONDITION, "LAST_ADMINISTRATOR")
        assert (await house.again(admin)).grants == (self.top,)

    async def test_a_locked_or_removed_one_and_an_empty_group_do_not_count(self, house: House) -> None:
        admin = await house.administrator()
        await house.administrator("second")
        await house.locks.lock_user(admin, "second", "because")
        await house.grants.grant(admin, RoleGrant("group", "empty", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"))
        assert (await refusal(house.grants.revoke(admin, self.top))).reason == "LAST_ADMINISTRATOR"
        await house.locks.unlock_user(admin, "second")
        await house.grants.revoke(admin, self.top)

    async def test_a_member_of_an_administrators_group_counts_until_leaving_it(self, house: House) -> None:
        admin = await house.administrator()
        group = RoleGrant("group", "admins", Role.ORGANIZATION_ADMINISTRATOR, "*", "*")
        await house.grants.grant(admin, group)
        alice = await house.person(admin, "alice", groups=("admins",))
        await house.directory.remove(alice, "root")
        leaving = house.directory.update(alice, "alice", remove_groups=["admins"])
        assert (await refusal(leaving)).reason == "LAST_ADMINISTRATOR"
        assert (await refusal(house.grants.revoke(alice, group))).reason == "LAST_ADMINISTRATOR"

    async def test_two_who_remove_each_other_at_once_leave_one(self, house: House) -> None:
        callers = [await house.administrator(f"root{number}") for number in range(4)]

        def take_away(way: int, caller: Caller, other: str) -> Awaitable[None]:
            if way == 0:
                return house.directory.remove(caller, other)
            if way == 1:
                return house.locks.lock_user(caller, other, "because")
            return house.grants.revoke(caller, role(other, Role.ORGANIZATION_ADMINISTRATOR, "*", "*"))

        outcomes = await asyncio.gather(
            *(take_away(n % 3, caller, f"root{(n + 1) % 4}") for n, caller in enumerate(callers)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert [getattr(outcome, "reason", outcome) for outcome in refused] == ["LAST_ADMINISTRATOR"]

"""SCIM over TLS: people come, change, leave; what rests on them follows at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from approvals.model import Status
from gateway.errors import Refused
from gateway.identity.model import Role, RoleGrant, User
from gateway.identity.oidc.claims import Person
from gateway.identity.oidc.people import admit
from gateway.store import contacts, directory
from gateway.store.contacts import Contact
from tests.gateway.access.world import World
from tests.gateway.http.provisioning import CORP, ENTERPRISE, GROUP, USER, Provisioned, corp, provisioned

pytestmark = pytest.mark.rule("R31")


@pytest.fixture
async def on(world: World, tmp_path: Path) -> AsyncIterator[Provisioned]:
    async with provisioned(world, tmp_path) as started:
        yield started


async def known(world: World, user_id: str) -> User:
    async with world.database.read() as connection:
        user = await directory.get(connection, user_id, world.clock())
    assert user is not None
    return user


async def email_of(world: World, user_id: str) -> Contact | None:
    async with world.database.read() as connection:
        return {each.kind: each for each in await contacts.of_user(connection, user_id)}.get("email")


async def test_somebody_is_described(on: Provisioned) -> None:
    provider = await on.provider()
    emails = [{"value": "home@example.net", "type": "home"}, {"value": "Carol@example.com", "type": "work"}]
    enterprise = {"employeeNumber": "17", "costCenter": "4", "division": "", "manager": {"value": "x"}}
    answer = await provider.user("carol", emails=emails, title="dropped", **{ENTERPRISE: enterprise})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/scim+json"
    assert answer.headers["location"] == f"{on.web.url}/scim/v2/Users/carol"
    said = answer.json()
    assert (said["id"], said["userName"], "title" in said) == ("carol", "Carol@Example.com", False)
    carol = await known(on.world, "carol")
    assert (carol.issuer, carol.subject, carol.display_name) == (CORP, "oid-carol", "Carol")
    assert carol.attributes == {"employeeNumber": "17", "costCenter": "4"}
    assert carol.provisioned
    email = await email_of(on.world, "carol")
    assert email is not None
    assert (email.address, email.linked_by) == ({"email": "Carol@example.com"}, "scim")
    assert await on.world.events("carol") == ["user.created", "user.updated"]


async def test_names_and_ids_find_people_and_groups(on: Provisioned) -> None:
    provider = await on.provider()
    for name in ("carol", "dan", "eve"):
        await provider.user(name)
    group = (await provider.group("sre", "carol", "dan", externalId="g-1")).json()["id"]

    async def ids(kind: str, text: str) -> list[str]:
        found = await provider.found(kind, filter=text)
        return [each["id"] for each in found.get("Resources", ())]

    assert await ids("Users", 'userName eq "CAROL@example.COM"') == ["carol"]
    assert await ids("Users", 'externalId eq "oid-dan"') == ["dan"]
    assert await ids("Users", 'externalId eq "OID-dan"') == []
    assert await ids("Users", f'{USER}:userName eq "dan@example.com" and active eq true') == ["dan"]
    assert await ids("Users", 'userName eq "dan@example.com" and userName eq "eve@example.com"') == []
    assert await ids("Users", 'userName eq "dan@example.com" or id eq "eve"') == ["dan", "eve"]
    assert await ids("Users", 'userName sw "c" or not (displayName ne "Eve")') == ["carol", "eve"]
    assert await ids("Users", 'userName eq "\\u0000"') == []
    assert await ids("Groups", 'displayName eq "SRE"') == [group]
    assert await ids("Groups", f'id eq "{group}" and members[value eq "dan"]') == [group]
    assert await ids("Groups", f'id eq "{group}" and members[value eq "eve"]') == []
    first = await provider.found("Users", startIndex=1, count=2)
    second = await provider.found("Users", startIndex=3, count=2)
    assert [each["id"] for each in first["Resources"] + second["Resources"]] == ["carol", "dan", "eve"]
    assert (first["totalResults"], second["totalResults"], second["startIndex"]) == (3, 3, 3)
    beyond = await provider.found("Users", startIndex=10**20)
    assert (beyond["totalResults"], beyond.get("Resources", [])) == (3, [])
    small = await provider.ask("GET", f"/Groups/{group}", params={"excludedAttributes": "members"})
    assert "members" not in small.json()


async def test_groups_are_those_of_policies(on: Provisioned) -> None:
    """By name; one that can be no group here counts for nothing, and its people are told nothing of it."""
    world, provider = on.world, await on.provider()
    for name in ("carol", "dan"):
        await provider.user(name)
    sre = (await provider.group("sre", "carol")).json()["id"]
    assert (await provider.group("All Staff", "carol", "dan")).status_code == 201
    assert (await known(world, "carol")).groups == {"sre"}
    await provider.patch(f"/Groups/{sre}", {"op": "Add", "path": "members", "value": [{"value": "dan"}]})
    assert (await known(world, "dan")).groups == {"sre"}
    # As Okta does it, then as Entra ID does it.
    await provider.patch(f"/Groups/{sre}", {"op": "remove", "path": 'members[value eq "carol"]'})
    await provider.patch(f"/Groups/{sre}", {"op": "Remove", "path": "members", "value": [{"value": "dan"}]})
    assert (await known(world, "carol")).groups == (await known(world, "dan")).groups == frozenset()
    renamed = {"op": "replace", "value": {"id": sre, "displayName": "oncall"}}
    whole = {"schemas": [GROUP], "displayName": "sre", "members": [{"value": "carol"}]}
    assert (await provider.ask("PUT", f"/Groups/{sre}", whole)).status_code == 200
    assert (await provider.patch(f"/Groups/{sre}", renamed)).status_code == 204
    assert (await known(world, "carol")).groups == {"oncall"}
    listed = (await provider.ask("GET", "/Users/carol")).json()["groups"]
    assert sorted(each["display"] for each in listed) == ["All Staff", "oncall"]
    assert (await provider.ask("DELETE", f"/Groups/{sre}")).status_code == 204
    assert (await known(world, "carol")).groups == frozenset()


async def test_the_configuration_names_groups(world: World, tmp_path: Path) -> None:
    claims = {"group_prefix": "corp-", "group_names": {"g-1": "sre", "Ops": "sre"}, "only_named_groups": True}
    async with provisioned(world, tmp_path, corp=corp(claims=claims, scim_subject="userName")) as on:
        provider = await on.provider()
        assert (await provider.user("carol", userName="carol")).status_code == 201
        assert (await known(world, "carol")).subject == "carol"
        one = (await provider.group("Site Reliability", "carol", externalId="g-1")).json()["id"]
        await provider.group("Ops", "carol")
        await provider.group("unknown", "carol")
        assert (await known(world, "carol")).groups == {"corp-sre"}
        await provider.ask("DELETE", f"/Groups/{one}")
        assert (await known(world, "carol")).groups == {"corp-sre"}  # by the other one


async def window(on: Provisioned, user_id: str) -> str:
    request = await on.world.ask(user_id, "db-1")
    await on.world.requests.approve(await on.world.caller("sam"), request.life.id)
    opened = await on.world.requests.approve(await on.world.caller("olga"), request.life.id)
    assert opened.life.status is Status.APPROVED
    return opened.life.id


async def status(world: World, request_id: str) -> Status:
    return (await world.reader.get(await world.caller("ada"), request_id)).life.status


@pytest.mark.rule("R25")
@pytest.mark.parametrize("how", ["False", False, "PUT", "DELETE"])
async def test_who_leaves_loses_everything_at_once(on: Provisioned, how: object) -> None:
    world, provider = on.world, await on.provider()
    await provider.user("carol")
    await world.grant(RoleGrant("user", "carol", Role.USER))
    opened, pending = await window(on, "carol"), (await world.ask("carol", "both-1")).life.id
    if how == "DELETE":
        answer = await provider.ask("DELETE", "/Users/carol")
    elif how == "PUT":
        whole = {"schemas": [USER], "externalId": "oid-carol", "userName": "carol@example.com", "active": False}
        answer = await provider.ask("PUT", "/Users/carol", whole)
    else:  # Entra ID writes it as a text
        answer = await provider.patch("/Users/carol", {"op": "Replace", "path": "active", "value": how})
    assert answer.status_code in {200, 204}
    assert (await status(world, opened), await status(world, pending)) == (Status.REVOKED, Status.FAILED)
    carol = await known(world, "carol")
    assert not carol.may_act
    if how == "DELETE":
        assert (carol.removed_at, carol.groups) == (world.clock(), frozenset())
        assert (await provider.ask("GET", "/Users/carol")).status_code == 404
        again = await provider.user("carol")
        assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
        return
    assert carol.certificates_from == world.clock()
    assert (await provider.ask("GET", "/Users/carol")).json()["active"] is False
    with pytest.raises(Refused, match="DEACTIVATED"):
        await on.web.locks.unlock_user(await world.caller("root"), "carol")
    await provider.patch("/Users/carol", {"op": "replace", "value": {"active": True}})
    assert (await known(world, "carol")).may_act
    assert await status(world, opened) is Status.REVOKED
    told = await world.events("carol")
    assert [each for each in told if "activated" in each] == ["user.deactivated", "user.activated"]


async def test_an_administrators_lock_is_not_undone(on: Provisioned) -> None:
    world, provider = on.world, await on.provider()
    await provider.user("carol")
    root = await world.caller("root")
    await on.web.locks.lock_user(root, "carol", "looked at")
    for active in (False, True):
        await provider.patch("/Users/carol", {"op": "replace", "path": "active", "value": active})
        assert (await known(world, "carol")).lock_reason == "looked at"
    await on.web.locks.unlock_user(root, "carol")
    assert (await known(world, "carol")).may_act


async def test_a_provider_activates_by_another_name_whom_it_deactivated(world: World, tmp_path: Path) -> None:
    """The name is the configuration's, and may change; the issuer is who it is."""
    async with provisioned(world, tmp_path, corp=corp(), entra=corp()) as on:
        await (await on.provider()).user("carol", active=False)
        assert not (await known(world, "carol")).may_act
        renamed = await on.provider("entra")
        await renamed.patch("/Users/carol", {"op": "replace", "path": "active", "value": True})
        assert (await known(world, "carol")).may_act


@pytest.mark.rule("R3")
async def test_who_leaves_a_group_loses_what_rests_on_it(on: Provisioned) -> None:
    world, provider = on.world, await on.provider()
    await provider.user("carol")
    group = (await provider.group("users", "carol")).json()["id"]
    await world.grant(RoleGrant("group", "users", Role.USER))
    opened = await window(on, "carol")
    await provider.patch(f"/Groups/{group}", {"op": "replace", "path": "members", "value": []})
    assert await status(world, opened) is Status.REVOKED


@pytest.mark.rule("R17")
async def test_membership_is_fresh_while_the_provider_can_tell(on: Provisioned) -> None:
    """Approvers of a provider that provisions decide without signing in again; without a token, not for long."""
    world = on.world
    provider = on.holding(await on.secret(lifetime=timedelta(days=3)))
    await provider.user("carol")
    await provider.group("sre", "carol")
    world.clock.advance(days=2)
    first = await world.ask("alice", "db-1")
    await world.requests.approve(await world.caller("carol"), first.life.id)
    world.clock.advance(days=3)
    carol = await known(world, "carol")
    assert (carol.provisioned, world.clock() - carol.membership_checked_at) == (False, timedelta(days=2))
    second = await world.ask("alice", "both-1")
    with pytest.raises(Refused, match="STALE"):
        await world.requests.approve(await world.caller("carol"), second.life.id)
    provider = await on.provider()  # a token that nobody used tells nothing
    with pytest.raises(Refused, match="STALE"):
        await world.requests.approve(await world.caller("carol"), second.life.id)
    await provider.ask("GET", "/Users")
    await world.requests.approve(await world.caller("carol"), second.life.id)


async def signs_in(on: Provisioned, user_id: str, *groups: str) -> User:
    who = Person(f"oid-{user_id}", user_id, "By claim", frozenset(groups), {"division": "claimed"}, {"Team": "a"})
    world = on.world
    async with world.database.transaction() as tx:
        now = world.clock()
        return await admit(tx, who, CORP, world.ender, create=True, now=now, source_address="")


async def test_a_sign_in_changes_nothing_that_scim_says(on: Provisioned) -> None:
    world, provider = on.world, await on.provider()
    before = await signs_in(on, "carol", "sre")
    assert before.groups == {"sre"}
    assert not before.provisioned
    assert (await provider.user("carol", displayName="By SCIM")).status_code == 201
    assert (await known(world, "carol")).groups == frozenset()  # the provider says from now on
    await provider.group("oncall", "carol")
    await signs_in(on, "carol", "sre")
    carol = await known(world, "carol")
    assert carol.groups == {"oncall"}
    assert (carol.display_name, dict(carol.attributes)) == ("By SCIM", {})
    assert carol.principal_tags == {"Team": "a"}
    root = await world.caller("root")
    for token in await on.tokens.list(root):
        await on.tokens.delete(root, token.id)
    await signs_in(on, "carol", "sre")
    assert (await known(world, "carol")).groups == {"sre"}


async def test_an_address_set_by_hand_stays(on: Provisioned) -> None:
    world, provider = on.world, await on.provider()
    work = {"op": "replace", "path": 'emails[type eq "work"].value', "value": "dan@example.com"}
    await provider.user("carol", emails=[{"value": "carol@example.com", "primary": True}])
    await provider.user("dan", emails=[{"value": "CAROL@example.com"}])  # somebody's already
    assert await email_of(world, "dan") is None
    await provider.patch("/Users/dan", work)
    dan = await email_of(world, "dan")
    assert dan is not None
    assert dan.key == "dan@example.com"
    async with world.database.transaction() as tx:
        by_hand = Contact("dan", "email", "d@example.net", {"email": "d@example.net"}, "root", world.clock())
        await contacts.put(tx.connection, by_hand)
    await provider.patch("/Users/dan", {"op": "remove", "path": "emails"})
    assert (await email_of(world, "dan")) == by_hand
    await provider.patch("/Users/carol", {"op": "remove", "path": "emails"})
    assert await email_of(world, "carol") is None


async def test_somebody_who_comes_back_under_another_id_has_their_address(on: Provisioned) -> None:
    provider = await on.provider()
    said = [{"value": "carol.jones@example.com", "type": "work"}]
    await provider.user("carol", emails=said)
    await on.directory().remove(await on.world.caller("root"), "carol")
    assert (await provider.user("cjones", emails=said)).status_code == 201
    email = await email_of(on.world, "cjones")
    assert email is not None
    assert email.address == {"email": "carol.jones@example.com"}
    await provider.user("other", emails=said)
    assert await email_of(on.world, "other") is None, "it is somebody's"


async def test_two_at_once_do_not_undo_each_other(on: Provisioned) -> None:
    provider = await on.provider()
    names = [f"user{at}" for at in range(8)]
    for name in names:
        await provider.user(name)
    group = (await provider.group("sre")).json()["id"]
    other = await on.provider()  # a second token, as while tokens are exchanged
    added = [
        (provider if at % 2 else other).patch(
            f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": name}]}
        )
        for at, name in enumerate(names)
    ]
    assert {answer.status_code for answer in await asyncio.gather(*added)} == {204}
    members = (await provider.ask("GET", f"/Groups/{group}")).json()["members"]
    assert sorted(each["value"] for each in members) == names
    same = [each.user("carol") for each in (provider, other)]
    assert sorted(answer.status_code for answer in await asyncio.gather(*same)) == [201, 409]


async def test_versions_guard_changes(on: Provisioned) -> None:
    provider = await on.provider()
    version = (await provider.user("carol")).headers["etag"]
    whole = {"schemas": [USER], "externalId": "oid-carol", "userName": "carol@example.com", "displayName": "C"}
    first = await provider.ask("PUT", "/Users/carol", whole, headers={"If-Match": version})
    assert first.status_code == 200
    stale = await provider.ask("PUT", "/Users/carol", whole | {"displayName": "D"}, headers={"If-Match": version})
    assert stale.status_code == 412
    same = await provider.ask("GET", "/Users/carol", headers={"If-None-Match": first.headers["etag"]})
    assert same.status_code == 304

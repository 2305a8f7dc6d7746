"""What is wrong over SCIM changes nothing, and is told in SCIM's form."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refused
from tests.gateway.access.world import World
from tests.gateway.http.provisioning import (
    ENTERPRISE,
    GROUP,
    USER,
    Provisioned,
    Provisioner,
    corp,
    provisioned,
)

pytestmark = [pytest.mark.rule("R31"), pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)]
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
TEAM = {"schemas": [GROUP], "displayName": "team"}
CAROL = {"schemas": [USER], "externalId": "oid-carol", "userName": "carol@example.com"}


@pytest.fixture
async def on(world: World, tmp_path: Path) -> AsyncIterator[Provisioned]:
    staff = corp(issuer="https://staff.example.com", claims={"group_prefix": "staff-"})
    async with provisioned(world, tmp_path, corp=corp(), staff=staff) as started:
        yield started


@pytest.fixture
async def provider(on: Provisioned) -> Provisioner:
    found = await on.provider()
    await found.user("carol")
    await found.user("dan")
    await found.group("sre", "carol")
    return found


def error(answer: Any) -> tuple[int, str]:
    said = answer.json()
    assert answer.headers["content-type"] == "application/scim+json"
    assert said["schemas"] == [ERROR]
    assert said["status"] == str(answer.status_code)
    assert said["detail"]
    return answer.status_code, said.get("scimType", "")


async def test_only_a_token_that_works_is_listened_to(on: Provisioned) -> None:
    world = on.world
    root = await world.caller("root")
    secret, short = await on.secret(), await on.secret(lifetime=timedelta(days=1))
    deleted, gone = await on.tokens.create(root, "corp")
    await on.tokens.delete(root, deleted.id)
    world.clock.advance(days=1)
    before = await world.rows()
    for wrong in (short, gone, secret[:-1], f"{secret} x", "x" * 4000):
        for path in ("/Users", "/ServiceProviderConfig", "/nothing"):
            answer = await on.holding(wrong).ask("POST" if path == "/Users" else "GET", path, CAROL)
            assert error(answer) == (401, "")
            assert answer.headers["www-authenticate"] == 'Bearer realm="SCIM"'
    for header in ({}, {"Authorization": f"Basic {secret}"}, {"Authorization": secret}):
        plain = on.web.browser().client
        assert error(await plain.get("/scim/v2/Users", headers=header)) == (401, "")
    assert await world.rows() == before


async def test_a_token_is_shown_once_and_is_an_organization_administrators(on: Provisioned) -> None:
    world = on.world
    secret = await on.secret()
    stored = repr(await world.rows())
    assert secret not in stored
    assert secret.removeprefix("jgscim_") not in stored
    root, sam = await world.caller("root"), await world.caller("sam")
    token = (await on.tokens.list(root))[0]
    assert secret not in repr(token)
    for refused in (on.tokens.list(sam), on.tokens.create(sam, "corp"), on.tokens.delete(sam, token.id)):
        with pytest.raises(Refused, match="NOT_PERMITTED"):
            await refused
    with pytest.raises(Refused, match="PROVIDER_UNKNOWN"):
        await on.tokens.create(root, "local")
    with pytest.raises(Refused, match="INVALID_FIELD"):
        await on.tokens.create(root, "corp", timedelta(days=1096))
    with pytest.raises(Refused, match="SCIM_TOKEN_NOT_FOUND"):
        await on.tokens.delete(root, "scim-000000000000")
    await on.holding(secret).ask("GET", "/Users")
    await on.tokens.delete(root, token.id)
    assert await world.events(token.id) == ["scim_token.created", "scim_token.deleted"]


@pytest.mark.rule("R32")
async def test_no_provider_touches_what_is_not_its_own(on: Provisioned, provider: Provisioner) -> None:
    world, staff = on.world, await on.provider("staff")
    group = (await provider.found("Groups"))["Resources"][0]["id"]
    local = [f"/Users/{name}" for name in ("alice", "root", "carol")]
    await staff.found("Users")
    before = await world.rows()
    for path in (*local, f"/Groups/{group}"):
        assert error(await staff.ask("GET", path)) == (404, "")
        assert error(await staff.ask("DELETE", path)) == (404, "")
        assert error(await staff.patch(path, {"op": "replace", "path": "displayName", "value": "x"})) == (404, "")
    assert (await staff.found("Users"))["totalResults"] == 0
    assert (await staff.found("Groups", filter='displayName eq "sre"'))["totalResults"] == 0
    # Names that are somebody's here stay theirs, whoever says what.
    for name in ("alice", "carol", "root"):
        answer = await staff.ask("POST", "/Users", {**CAROL, "externalId": f"s-{name}", "userName": name})
        assert error(answer) == (409, "uniqueness")
    assert error(await staff.group("x", "carol")) == (400, "invalidValue")
    assert await world.rows() == before
    await staff.ask("POST", "/Users", {**CAROL, "externalId": "s-eve", "userName": "eve"})
    await staff.group("sre", "eve")
    eve = (await world.caller("eve")).user
    assert eve.groups == {"staff-sre"}


WRONG: list[tuple[str, str, Any, tuple[int, str]]] = [
    ("POST", "/Users", b"{", (400, "invalidSyntax")),
    ("POST", "/Users", b"\xff", (400, "invalidSyntax")),
    ("POST", "/Users", [], (400, "invalidSyntax")),
    ("POST", "/Users", {}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "userName": None}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "externalId": None}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "externalId": "x", "userName": "Carol@example.com"}, (409, "uniqueness")),
    ("POST", "/Users", {**CAROL, "userName": "other@example.com"}, (409, "uniqueness")),
    ("POST", "/Users", {**CAROL, "externalId": "x", "userName": "x@elsewhere.net"}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "externalId": "x", "userName": "é@example.com"}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "externalId": "\x00", "userName": "x@example.com"}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "externalId": "x" * 256, "userName": "x@example.com"}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "active": "perhaps"}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, ENTERPRISE: {"division": "a\nb"}}, (400, "invalidValue")),
    ("POST", "/Users", {**CAROL, "emails": [{"value": "a@b.example"}] * 21}, (400, "invalidValue")),
    ("PUT", "/Users/carol", {**CAROL, "externalId": "oid-dan"}, (400, "mutability")),
    ("PUT", "/Users/carol", {**CAROL, "userName": "dan@example.com"}, (409, "uniqueness")),
    ("PUT", "/Users/nobody", CAROL, (404, "")),
    ("PUT", "/Users/%00", CAROL, (404, "")),
    ("DELETE", "/Users/nobody", None, (404, "")),
    ("POST", "/Groups", {"schemas": [GROUP]}, (400, "invalidValue")),
    ("POST", "/Groups", {"schemas": [GROUP], "displayName": "SRE"}, (409, "uniqueness")),
    ("POST", "/Groups", {"schemas": [GROUP], "displayName": "a\u202eb"}, (400, "invalidValue")),
    ("POST", "/Groups", {**TEAM, "members": [{"value": "alice"}]}, (400, "invalidValue")),
    ("POST", "/Groups", {**TEAM, "members": [{"value": "\x00"}]}, (400, "invalidValue")),
    ("POST", "/Groups", {**TEAM, "members": [{"value": str(at)} for at in range(5001)]}, (400, "invalidValue")),
    ("GET", "/Users?filter=userName", None, (400, "invalidFilter")),
    ("GET", "/Users?filter=userName%20like%20%22x%22", None, (400, "invalidFilter")),
    ("GET", "/Users?filter=password%20eq%20%22x%22", None, (400, "invalidFilter")),
    ("GET", "/Users?filter=" + "(" * 3000 + "x pr" + ")" * 3000, None, (400, "invalidFilter")),
    ("GET", "/Users?startIndex=x", None, (400, "invalidValue")),
    ("GET", "/Users?sortBy=userName", None, (501, "")),
    ("POST", "/Bulk", {"schemas": [], "Operations": []}, (501, "")),
    ("GET", "/Me", None, (501, "")),
    ("DELETE", "/Users", None, (405, "")),
    ("GET", "/Nothing/here", None, (404, "")),
    ("POST", "/Users", b"x" * ((1 << 20) + 1), (413, "")),
]  # fmt: skip


async def test_what_is_wrong_changes_nothing(on: Provisioned, provider: Provisioner) -> None:
    before = await on.world.rows()
    for method, path, body, expected in WRONG:
        answer = await provider.ask(method, path, body)
        assert error(answer) == expected, (method, path, str(body)[:100], answer.text)
        assert await on.world.rows() == before, (method, path, str(body)[:100])


NONSENSE: list[Any] = [
    {"op": "frob", "path": "active"},
    {"op": "remove"},
    {"op": "remove", "path": "userName"},
    {"op": "remove", "path": "externalId"},
    {"op": "replace", "path": "externalId", "value": "oid-dan"},
    {"op": "replace", "path": "active", "value": "perhaps"},
    {"op": "replace", "path": "active", "value": {"a": []}},
    {"op": "replace", "path": "userName", "value": ["a"]},
    {"op": "replace", "path": "userName", "value": "dan@example.com"},
    {"op": "replace", "path": "id", "value": "dan"},
    {"op": "add", "path": "groups", "value": [{"value": "sre"}]},
    {"op": "replace", "path": "emails[type eq", "value": "x"},
    {"op": "replace", "path": f"{ENTERPRISE}:division", "value": "\x1b[2J"},
    {"op": "add", "path": "displayName"},
    {"op": "add", "value": "text"},
    "text",
]


async def test_a_patch_of_nonsense_changes_nothing(on: Provisioned, provider: Provisioner) -> None:
    """Also when what came before it in the same request was right."""
    before = await on.world.rows()
    right = {"op": "replace", "path": "displayName", "value": "Other"}
    for operation in NONSENSE:
        answer = await provider.patch("/Users/carol", right, operation)
        assert error(answer)[0] in {400, 409}, (operation, answer.text)
        assert await on.world.rows() == before, operation


async def test_who_was_removed_here_is_nobody_there(on: Provisioned, provider: Provisioner) -> None:
    world = on.world
    await on.directory().remove(await world.caller("root"), "carol")
    assert error(await provider.ask("GET", "/Users/carol")) == (404, "")
    assert error(await provider.user("carol")) == (409, "uniqueness")
    group = (await provider.found("Groups"))["Resources"][0]
    assert "members" not in group
    again = {"op": "add", "path": "members", "value": [{"value": "carol"}]}
    assert error(await provider.patch(f"/Groups/{group['id']}", again)) == (400, "invalidValue")


async def test_what_does_not_commit_did_not_happen(
    on: Provisioned, provider: Provisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("killed here")

    before = await on.world.rows()
    monkeypatch.setattr(on.world.ender, "user_locked", fail)
    answer = await provider.patch("/Users/carol", {"op": "replace", "path": "active", "value": False})
    assert answer.status_code == 500
    assert await on.world.rows() == before

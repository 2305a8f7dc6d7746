"""The registry: what is stored, who may see it, who hears of its changes."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import update

from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role
from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes import host_keys
from gateway.nodes.model import SshEndpoint, is_node_id
from gateway.nodes.registry import NODES_TOPIC, NewNode
from gateway.store import nodes, preferences, tables
from tests.gateway.nodes.conftest import (
    ADMIN,
    ENDPOINT,
    HERE,
    KEY,
    NODE_ID,
    NOW,
    USER,
    RealNode,
    World,
    caller_with,
    granted,
)
from tests.sshd import stop_sshd


def reason_of(caught: pytest.ExceptionInfo[Refused]) -> str:
    assert caught.value.message
    return caught.value.reason


class TestAdd:
    @pytest.mark.rule("R33")
    async def test_a_node_that_passes_its_check_is_stored(self, world: World, real: RealNode) -> None:
        new = NewNode("web-1", HERE, real.node.endpoint, {"Environment": "prod"}, id=NODE_ID)
        node, checks = await world.registry.add(ADMIN, new)
        assert [check.step for check in checks] == [
            "dial",
            "host_key",
            "certificate",
            "forwarding",
            "shell",
            "clock",
        ]
        assert all(check.passed for check in checks)
        stored = await world.registry.get(USER, HERE, "web-1")
        assert stored == node
        assert stored.properties["platform"].startswith("Linux")
        assert (stored.last_seen_at, stored.created_at, stored.revision) == (NOW, NOW, 1)
        (event,) = await world.events()
        assert (event.type, event.subject, event.actor_id) == ("node.added", NODE_ID, "nina")  # type: ignore[attr-defined]

    @pytest.mark.rule("R33")
    async def test_a_node_that_fails_its_check_is_not_stored(self, world: World, real: RealNode) -> None:
        real.sshd.allow(real.login)
        with pytest.raises(Refused) as caught:
            await world.registry.add(ADMIN, NewNode("web-1", HERE, real.node.endpoint, id=NODE_ID))
        assert reason_of(caught) == "NODE_CHECK_FAILED"
        assert caught.value.metadata == {"step": "certificate"}
        assert "jit nodes trust" in caught.value.what_to_do
        assert await world.names() == []
        assert await world.events() == []

    @pytest.mark.rule("R33")
    async def test_a_node_without_a_proof_is_refused(self, world: World) -> None:
        with pytest.raises(Refused) as caught:
            await world.add(endpoint=SshEndpoint("web.example"))
        assert caught.value.fields[0].field == "ssh.host_keys"
        assert "--trust-on-first-use" in caught.value.what_to_do

    async def test_trust_on_first_use_shows_stores_and_tells_the_fingerprint(
        self, world: World, real: RealNode
    ) -> None:
        endpoint = replace(real.node.endpoint, host_keys=())
        new = NewNode("web-1", HERE, endpoint, id=NODE_ID, trust_on_first_use=True)
        node, checks = await world.registry.add(ADMIN, new)
        assert node.endpoint.host_keys == (real.sshd.host_key,)
        fingerprint = host_keys.fingerprint(real.sshd.host_key)
        assert [check.step for check in checks] == [
            "dial",
            "host_key",
            "certificate",
            "forwarding",
            "shell",
            "clock",
        ]
        assert checks[1].message == f"trusted on first use: {fingerprint}"
        (event,) = await world.events("node.trusted_on_first_use")
        assert event.details == {"host_key": fingerprint}  # type: ignore[attr-defined]

    async def test_trust_on_first_use_without_a_check_dials_all_the_same(
        self, world: World, real: RealNode
    ) -> None:
        endpoint = replace(real.node.endpoint, host_keys=())
        new = NewNode("web-1", HERE, endpoint, trust_on_first_use=True, skip_check=True)
        node, checks = await world.registry.add(ADMIN, new)
        assert node.endpoint.host_keys == (real.sshd.host_key,)
        assert [check.step for check in checks] == ["host_key"]
        stop_sshd(real.sshd)
        with pytest.raises(Refused) as caught:
            await world.registry.add(ADMIN, replace(new, name="web-2"))
        assert reason_of(caught) == "NODE_UNREACHABLE"
        assert await world.names() == ["web-1"]

    async def test_trust_on_first_use_beside_a_key_is_a_contradiction(self, world: World) -> None:
        with pytest.raises(Refused) as caught:
            await world.add(trust_on_first_use=True)
        assert caught.value.fields[0].field == "trust_on_first_use"

    async def test_without_any_login_there_is_no_check(self, world: World, real: RealNode) -> None:
        new = NewNode("web-1", HERE, replace(real.node.endpoint, login=""), id=NODE_ID)
        with pytest.raises(Refused) as caught:
            await world.registry.add(ADMIN, new)
        assert reason_of(caught) == "NO_LOGIN"
        async with world.database.transaction() as tx:
            wanted = preferences.Preferences(run_as=real.login)
            await preferences.put(tx.connection, *HERE, wanted, at=NOW, by="nina")
        assert await world.registry.add(ADMIN, new)

    @pytest.mark.rule("R33")
    async def test_a_name_is_unique_among_the_living_of_its_scope(self, world: World) -> None:
        await world.add("web-1")
        with pytest.raises(Refused) as caught:
            await world.add("web-1")
        assert reason_of(caught) == "NODE_NAME_TAKEN"
        everywhere = granted("nina", Role.NODE_ADMINISTRATOR, "*", "*")
        await world.add("web-1", everywhere, scope=("default", "eu-1"))
        await world.registry.remove(ADMIN, HERE, "web-1")
        await world.add("web-1")

    @pytest.mark.rule("R33")
    async def test_an_id_is_never_used_again(self, world: World) -> None:
        await world.add(id=NODE_ID)
        for name in ("web-1", "web-2"):
            with pytest.raises(Refused) as caught:
                await world.add(name, id=NODE_ID)
            assert reason_of(caught) == "NODE_ID_USED"
        await world.registry.remove(ADMIN, HERE, NODE_ID)
        with pytest.raises(Refused) as caught:
            await world.add("web-3", id=NODE_ID)
        assert reason_of(caught) == "NODE_ID_USED"

    @pytest.mark.rule("R33")
    async def test_one_of_many_wins_a_name_and_an_id(self, world: World) -> None:
        names = await asyncio.gather(*(world.add("web-1") for _ in range(10)), return_exceptions=True)
        ids = await asyncio.gather(*(world.add(f"db-{n}", id=NODE_ID) for n in range(10)), return_exceptions=True)
        for results, reason in ((names, "NODE_NAME_TAKEN"), (ids, "NODE_ID_USED")):
            assert sum(isinstance(result, str) for result in results) == 1
            assert all(result.reason == reason for result in results if isinstance(result, Refused))
            assert not [result for result in results if not isinstance(result, str | Refused)]
        assert len(await world.events()) == 2

    @pytest.mark.rule("R32")
    @pytest.mark.parametrize(
        "caller",
        [
            USER,
            granted("otto", Role.AUDITOR),
            granted("nina", Role.NODE_ADMINISTRATOR, "other"),
            caller_with("zoe"),
        ],
        ids=["user", "auditor", "of another account", "nobody"],
    )
    async def test_who_may_not(self, world: World, caller: Caller) -> None:
        with pytest.raises(Refused) as caught:
            await world.add(caller=caller)
        assert reason_of(caught) == "NOT_PERMITTED"
        assert await world.names() == []

    async def test_made_ids_have_the_form_of_hybrid_nodes(self, world: World) -> None:
        made = await world.add()
        assert is_node_id(made)
        assert made.startswith("mi-")


class TestGet:
    @pytest.mark.rule("R1")
    async def test_by_id_and_by_name_in_its_scope_only(self, world: World) -> None:
        everywhere = granted("nina", Role.NODE_ADMINISTRATOR, "*", "*")
        made = await world.add()
        for reference in ("web-1", made):
            assert (await world.registry.get(everywhere, HERE, reference)).id == made
            for elsewhere in (("default", "eu-1"), ("other", "default")):
                with pytest.raises(Refused) as caught:
                    await world.registry.get(everywhere, elsewhere, reference)
                assert reason_of(caught) == "NODE_NOT_FOUND"

    async def test_what_may_not_be_seen_is_not_there(self, world: World) -> None:
        await world.add()
        with pytest.raises(Refused) as hidden:
            await world.registry.get(granted("bob", Role.USER, "other"), HERE, "web-1")
        with pytest.raises(Refused) as missing:
            await world.registry.get(USER, HERE, "web-9")
        assert str(hidden.value).replace("web-1", "web-9") == str(missing.value)
        assert hidden.value.kind == missing.value.kind

    async def test_a_lock_is_shown(self, world: World) -> None:
        made = await world.add()
        assert not (await world.registry.get(USER, HERE, made)).locked
        values = {"locked_at": NOW, "locked_by": "nina", "lock_reason": "forensics"}
        async with world.database.transaction() as tx:
            await tx.connection.execute(update(tables.nodes).values(values))
        node = await world.registry.get(USER, HERE, made)
        assert (node.locked, node.locked_by, node.lock_reason) == (True, "nina", "forensics")
        updated = await world.registry.update(
            ADMIN, HERE, made, set_tags={"a": "b"}, remove_tags=(), endpoint=None
        )
        assert updated.locked
        assert (await world.registry.get(USER, HERE, made)).locked


class TestList:
    async def test_pages_by_name_without_gaps_or_repetition(self, world: World) -> None:
        everywhere = granted("nina", Role.NODE_ADMINISTRATOR, "*", "*")
        wanted = []
        for number in range(7):
            for region in ("default", "eu-1"):
                await world.add(f"n{number}", everywhere, scope=("default", region))
                wanted.append(f"n{number}")
        seen: list[str] = []
        after = None
        while True:
            page, after = await world.registry.list(everywhere, None, [], 3, after)
            seen.extend(node.name for node in page)
            if after is None:
                break
            assert len(page) == 3
        assert seen == wanted

    async def test_an_exact_page_has_no_next(self, world: World) -> None:
        await world.add("a")
        await world.add("b")
        found, after = await world.registry.list(ADMIN, None, [], 2)
        assert ([node.name for node in found], after) == (["a", "b"], None)

    @pytest.mark.rule("R32")
    async def test_only_scopes_that_the_caller_may_read(self, world: World) -> None:
        everywhere = granted("nina", Role.NODE_ADMINISTRATOR, "*", "*")
        await world.add("here")
        await world.add("there", everywhere, scope=("other", "default"))
        assert await world.names(everywhere) == ["here", "there"]
        assert await world.names(USER) == ["here"]
        assert await world.names(everywhere, scope=("other", "default")) == ["there"]
        assert await world.names(caller_with("zoe")) == []
        with pytest.raises(Refused) as caught:
            await world.names(USER, scope=("other", "default"))
        assert reason_of(caught) == "NOT_PERMITTED"

    @pytest.mark.rule("R33")
    async def test_filters_hold_together_and_removed_nodes_are_gone(self, world: World) -> None:
        await world.add("web-1", tags={"Environment": "prod"})
        await world.add("web-2", tags={"Environment": "test"})
        await world.add("db-1", tags={"Environment": "prod"})
        assert await world.names(USER, "name=web-*", "tag:Environment=prod") == ["web-1"]
        await world.registry.remove(ADMIN, HERE, "web-1")
        assert await world.names(USER, "tag:Environment=prod") == ["db-1"]
        with pytest.raises(Refused) as caught:
            await world.names(USER, "nonsense")
        assert caught.value.fields[0].field == "filters[0]"


class TestUpdate:
    @pytest.mark.rule("R3")
    async def test_changed_tags_are_told_in_the_transaction(self, world: World) -> None:
        made = await world.add(tags={"Environment": "prod", "old": "x"})
        with world.changes.subscribe(made, NODES_TOPIC) as woken:
            node = await world.registry.update(
                ADMIN, HERE, made, set_tags={"Environment": "test", "new": ""}, remove_tags=["old"], endpoint=None
            )
            assert woken.is_set()
        assert node.tags == {"Environment": "test", "new": ""}
        assert node.revision == 2
        assert world.ender.told == [("tags", made, {"Environment": "test", "new": ""})]
        event = (await world.events("node.updated"))[0]
        assert event.details["before"]["tags"] == {"Environment": "prod", "old": "x"}  # type: ignore[attr-defined]

    @pytest.mark.rule("R3")
    async def test_what_the_ender_cannot_end_does_not_change(self, world: World) -> None:
        made = await world.add(tags={"Environment": "prod"})
        world.ender.fails = True
        with pytest.raises(RuntimeError):
            await world.registry.update(ADMIN, HERE, made, set_tags={"a": "b"}, remove_tags=(), endpoint=None)
        with pytest.raises(RuntimeError):
            await world.registry.remove(ADMIN, HERE, made)
        node = await world.registry.get(USER, HERE, made)
        assert (node.tags, node.revision) == ({"Environment": "prod"}, 1)
        assert await world.events("node.updated") == await world.events("node.removed") == []

    async def test_nothing_new_changes_nothing(self, world: World) -> None:
        made = await world.add(tags={"a": "b"})
        node = await world.registry.update(
            ADMIN, HERE, made, set_tags={"a": "b"}, remove_tags=["c"], endpoint=ENDPOINT
        )
        assert node.revision == 1
        assert world.ender.told == []
        assert await world.events("node.updated") == []

    async def test_an_endpoint_is_replaced_as_a_whole_and_ends_nobodys_access(self, world: World) -> None:
        made = await world.add()
        moved = SshEndpoint("elsewhere.example", 22, "", (), (KEY,))
        node = await world.registry.update(ADMIN, HERE, made, set_tags={}, remove_tags=(), endpoint=moved)
        assert node.endpoint == moved
        assert (await world.registry.get(USER, HERE, made)).endpoint == moved
        assert world.ender.told == []
        with pytest.raises(Refused) as caught:
            await world.registry.update(
                ADMIN, HERE, made, set_tags={}, remove_tags=(), endpoint=SshEndpoint("elsewhere.example")
            )
        assert caught.value.fields[0].field == "ssh.host_keys"

    @pytest.mark.rule("R3")
    async def test_tags_stay_within_their_bounds_together(self, world: World) -> None:
        made = await world.add(tags={f"{number}": "" for number in range(50)})
        with pytest.raises(Refused):
            await world.registry.update(ADMIN, HERE, made, set_tags={"one": ""}, remove_tags=(), endpoint=None)
        node = await world.registry.update(
            ADMIN, HERE, made, set_tags={"one": ""}, remove_tags=["0"], endpoint=None
        )
        assert len(node.tags) == 50
        with pytest.raises(Refused) as caught:
            await world.registry.update(ADMIN, HERE, made, set_tags={"a": ""}, remove_tags=["a"], endpoint=None)
        assert caught.value.fields[0].field == "remove_tags"

    async def test_changes_at_once_all_stay(self, world: World) -> None:
        made = await world.add()
        await asyncio.gather(
            *(
                world.registry.update(ADMIN, HERE, made, set_tags={f"{n}": ""}, remove_tags=(), endpoint=None)
                for n in range(10)
            )
        )
        node = await world.registry.get(USER, HERE, made)
        assert (len(node.tags), node.revision) == (10, 11)

    @pytest.mark.rule("R3")
    async def test_only_administrators_tag(self, world: World) -> None:
        made = await world.add()
        with pytest.raises(Refused) as caught:
            await world.registry.update(USER, HERE, made, set_tags={"a": "b"}, remove_tags=(), endpoint=None)
        assert reason_of(caught) == "NOT_PERMITTED"


class TestRemove:
    @pytest.mark.rule("R33")
    async def test_it_is_gone_and_the_ender_knows(self, world: World) -> None:
        made = await world.add()
        await world.registry.remove(ADMIN, HERE, "web-1")
        assert world.ender.told == [("removed", made, "nina", NOW)]
        for again in (made, "web-1"):
            with pytest.raises(Refused) as caught:
                await world.registry.remove(ADMIN, HERE, again)
            assert reason_of(caught) == "NODE_NOT_FOUND"
        async with world.database.read() as connection:
            kept = await nodes.get(connection, made)
        assert kept
        assert kept.removed_at == NOW
        assert len(await world.events("node.removed")) == 1

    async def test_who_may_not(self, world: World) -> None:
        await world.add()
        with pytest.raises(Refused) as caught:
            await world.registry.remove(USER, HERE, "web-1")
        assert reason_of(caught) == "NOT_PERMITTED"


class TestCheckAndTrust:
    async def test_a_check_notes_that_the_node_was_seen(self, world: World, real: RealNode) -> None:
        await world.add(id=NODE_ID, endpoint=real.node.endpoint)
        checks = await world.registry.check(ADMIN, HERE, "web-1")
        assert all(check.passed for check in checks)
        node = await world.registry.get(USER, HERE, "web-1")
        assert (node.last_seen_at, node.revision) == (NOW, 1)
        assert "ssh_version" in node.properties
        stop_sshd(real.sshd)
        assert [check.passed for check in await world.registry.check(ADMIN, HERE, "web-1")] == [False]
        with pytest.raises(Refused):
            await world.registry.check(USER, HERE, "web-1")

    async def test_trust_of_a_known_node_and_of_one_to_come(self, world: World, ca: SshUserCa) -> None:
        made = await world.add()
        known = await world.registry.trust(USER, HERE, "web-1", "")
        assert (known.node_id, known.principals) == (made, f"{made}/deploy\n")
        assert known.user_ca == ca.public_key_line()
        to_come = await world.registry.trust(USER, HERE, "", "ops")
        assert to_come.principals == f"{to_come.node_id}/ops\n"
        assert to_come.node_id != made
        assert is_node_id(to_come.node_id)

    @pytest.mark.rule("R26")
    @pytest.mark.parametrize("login", ["root\nPermitRootLogin yes", "a b", "-x", "x" * 33])
    async def test_a_login_cannot_smuggle_lines(self, world: World, login: str) -> None:
        with pytest.raises(Refused) as caught:
            await world.registry.trust(USER, HERE, "", login)
        assert caught.value.fields[0].field == "login"

    async def test_trust_needs_a_login_and_the_right_to_read(self, world: World) -> None:
        with pytest.raises(Refused) as caught:
            await world.registry.trust(USER, HERE, "", "")
        assert reason_of(caught) == "NO_LOGIN"
        with pytest.raises(Refused) as caught:
            await world.registry.trust(caller_with("zoe"), HERE, "", "root")
        assert reason_of(caught) == "NOT_PERMITTED"

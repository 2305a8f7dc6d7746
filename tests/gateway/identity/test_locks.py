from collections.abc import Awaitable

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.model import Role
from gateway.nodes.model import Node, SshEndpoint
from gateway.store import nodes
from tests.gateway.identity.conftest import House, role

pytestmark = pytest.mark.rule("R25")
NODE = "i-0123456789abcdef0"
PLACE = ("production", "eu")


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def add_node(house: House) -> None:
    node = Node(NODE, "web-1", *PLACE, "ssh", SshEndpoint("192.0.2.5"), house.time())
    async with house.database.transaction() as tx:
        await nodes.add(tx.connection, node)


async def stored(house: House) -> Node:
    async with house.database.read() as connection:
        node = await nodes.get(connection, NODE)
    assert node is not None
    return node


async def test_a_locked_users_access_ends_and_it_is_an_event(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    await house.locks.lock_user(admin, "alice", "laptop lost")
    await house.locks.lock_user(admin, "alice", "and found by a stranger")
    assert house.endings.calls == [
        ("user_locked", "alice", "laptop lost", "root"),
        ("user_locked", "alice", "and found by a stranger", "root"),
    ]
    first, _ = await house.events("user.locked")
    assert (first.subject, first.actor_id, first.account) == ("alice", "root", "")
    assert first.summary == "root locked alice: laptop lost"


async def test_only_what_is_locked_is_unlocked(house: House) -> None:
    admin = await house.administrator()
    await add_node(house)
    assert (await refusal(house.locks.unlock_user(admin, "root"))).reason == "NOT_LOCKED"
    assert (await refusal(house.locks.unlock_node(admin, *PLACE, NODE))).reason == "NOT_LOCKED"
    assert (await refusal(house.locks.unlock_user(admin, "ghost"))).reason == "USER_NOT_FOUND"


@pytest.mark.parametrize("reference", [NODE, "web-1"])
async def test_a_node_is_locked_and_unlocked_by_id_or_name(house: House, reference: str) -> None:
    admin = await house.administrator()
    await add_node(house)
    await house.locks.lock_node(admin, *PLACE, reference, "rebuilding")
    node = await stored(house)
    assert (node.locked, node.locked_by, node.lock_reason, node.revision) == (True, "root", "rebuilding", 2)
    assert house.endings.calls == [("node_locked", NODE, "rebuilding", "root")]
    (event,) = await house.events("node.locked")
    assert (event.subject, event.account, event.region) == (NODE, *PLACE)
    await house.locks.unlock_node(admin, *PLACE, reference)
    assert not (await stored(house)).locked
    assert len(await house.events("node.unlocked")) == 1


@pytest.mark.rule("R32")
async def test_a_node_administrator_locks_nodes_at_home_and_nothing_else(house: House) -> None:
    admin = await house.administrator()
    await add_node(house)
    home = await house.person(admin, "home", role("home", Role.NODE_ADMINISTRATOR, *PLACE))
    away = await house.person(admin, "away", role("away", Role.NODE_ADMINISTRATOR))
    user = await house.person(admin, "user", role("user", Role.USER, "*", "*"))
    await house.locks.lock_node(home, *PLACE, NODE, "rebuilding")
    for stranger in (away, user):
        for change in (
            house.locks.lock_node(stranger, *PLACE, NODE, "x"),
            house.locks.unlock_node(stranger, *PLACE, NODE),
        ):
            refused = await refusal(change)
            assert (refused.kind, refused.reason) == (Kind.NOT_FOUND, "NODE_NOT_FOUND")
    assert (await stored(house)).locked
    assert (await refusal(house.locks.lock_user(home, "user", "x"))).reason == "NOT_PERMITTED"


async def test_a_node_elsewhere_is_not_there(house: House) -> None:
    admin = await house.administrator()
    await add_node(house)
    for account, region, node in (
        ("default", "default", NODE),
        ("production", "us", "web-1"),
        (*PLACE, "web-2"),
        (*PLACE, ""),
    ):
        refused = await refusal(house.locks.lock_node(admin, account, region, node, "x"))
        assert refused.reason == "NODE_NOT_FOUND"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 257, "\x1b[31mred", "two\nlines"])
async def test_a_lock_says_why_in_one_plain_line(house: House, reason: str) -> None:
    admin = await house.administrator()
    await add_node(house)
    for change in (
        house.locks.lock_user(admin, "root", reason),
        house.locks.lock_node(admin, *PLACE, NODE, reason),
    ):
        assert (await refusal(change)).fields[0].field == "reason"
    assert house.endings.calls == []


async def test_waiters_are_woken_when_it_is_done_and_only_then(house: House) -> None:
    admin = await house.administrator()
    await add_node(house)
    with house.changes.subscribe("users") as users, house.changes.subscribe("nodes") as machines:
        await refusal(house.locks.lock_user(admin, "root", "x"))
        assert not users.is_set()
        await house.person(admin, "alice")
        users.clear()
        await house.locks.lock_user(admin, "alice", "x")
        assert users.is_set()
        assert not machines.is_set()
        await house.locks.lock_node(admin, *PLACE, NODE, "x")
        assert machines.is_set()

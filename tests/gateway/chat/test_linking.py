"""Whose chat identity it is (R31): begun at the gateway, ended in the chat, and never otherwise."""

import asyncio
import contextlib

import pytest

from gateway.chat.linking import LIFETIME
from gateway.chat.people import ChatPeople
from gateway.errors import Refused
from gateway.store import directory, tables
from notifiers.chat import Verdict
from notifiers.model import Action
from tests.gateway.access.refusals import refused
from tests.gateway.chat.conftest import SLACK, Chat, person

pytestmark = pytest.mark.rule("R31")


async def test_a_code_links_whoever_types_it_to_whoever_got_it(chat: Chat) -> None:
    code = await chat.code("pete")
    reply = await chat.desk.link(person("pete"), f"  {code.upper().replace('-', ' ')} ")
    assert (reply.verdict, reply.message) == (Verdict.DONE, "You are pete here from now on.")
    caller = await ChatPeople(chat.world.database, chat.world.clock).caller(person("pete"))
    assert (caller.user.id, caller.source_address, caller.signed_in_at) == ("pete", "slack T1/U-pete", None)
    [event] = [event for event in await chat.events("chat.linked") if event.actor_id == "pete"]
    assert event.details == {"kind": SLACK, "key": "T1/U-pete"}


async def test_a_code_works_once_and_ten_minutes(chat: Chat) -> None:
    world = chat.world
    code = await chat.code("pete")
    await chat.links.redeem(person("pete"), code)
    async with refused(world, "WRONG_CODE"):
        await chat.links.redeem(person("mallory"), code)
    code = await chat.code("pete")
    world.clock.advance(seconds=LIFETIME.total_seconds())
    async with refused(world, "WRONG_CODE"):
        await chat.links.redeem(person("pete"), code)


async def test_a_newer_code_ends_the_one_before(chat: Chat) -> None:
    older, newer = await chat.code("pete"), await chat.code("pete")
    async with refused(chat.world, "WRONG_CODE"):
        await chat.links.redeem(person("pete"), older)
    assert await chat.links.redeem(person("pete"), newer) == "pete"


async def test_two_who_type_one_code_at_once(chat: Chat) -> None:
    code = await chat.code("pete")

    async def one(name: str) -> str | None:
        with contextlib.suppress(Refused):
            return await chat.links.redeem(person(name), code)
        return None

    assert sorted(filter(None, await asyncio.gather(one("pete"), one("mallory")))) == ["pete"]


async def test_codes_are_kept_as_hashes(chat: Chat) -> None:
    code = await chat.code("pete")
    async with chat.world.database.read() as connection:
        rows = (await connection.execute(tables.chat_codes.select())).all()
    assert code not in str(rows)
    assert code.replace("-", "") not in str(rows)


@pytest.mark.parametrize("typed", ["", "aaaa-bbbb-cccc", "x" * 4000, "\ud800", "code' OR 1=1"])
async def test_what_is_no_code(chat: Chat, typed: str) -> None:
    async with refused(chat.world, "WRONG_CODE"):
        await chat.links.redeem(person("mallory"), typed)


async def test_a_wrong_code_stands_in_the_audit_log(chat: Chat) -> None:
    reply = await chat.desk.link(person("mallory"), "aaaa-bbbb-cccc")
    assert reply.verdict is Verdict.REFUSED
    [event] = await chat.events("chat.refused")
    assert (event.actor_id, event.details["key"]) == ("", "T1/U-mallory")
    assert "aaaa" not in str(event)


async def test_people_of_other_organizations_are_nobody(chat: Chat) -> None:
    code = await chat.code("pete")
    async with refused(chat.world, "EXTERNAL_PERSON"):
        await chat.links.redeem(person("pete", is_outsider=True), code)
    assert await chat.links.redeem(person("pete"), code) == "pete"


async def test_an_identity_is_one_persons(chat: Chat) -> None:
    code = await chat.code("mallory")
    async with refused(chat.world, "ADDRESS_TAKEN"):
        await chat.links.redeem(person("sam"), code)


async def test_an_identity_of_somebody_who_was_removed_is_free(chat: Chat) -> None:
    """They can't give it up any more, and may be here under another id."""
    async with chat.world.database.transaction() as tx:
        await directory.remove(tx.connection, "sam", chat.world.clock())
    assert await chat.links.redeem(person("sam"), await chat.code("pete")) == "pete"


async def test_the_same_id_in_another_workspace_is_somebody_else(chat: Chat) -> None:
    reply = await chat.do(person("sam", workspace="T2"), Action.APPROVE, "oi-000000000000")
    assert reply.verdict is Verdict.NOT_LINKED


async def test_a_code_of_somebody_who_was_locked_meanwhile(chat: Chat) -> None:
    code = await chat.code("pete")
    async with chat.world.database.transaction() as tx:
        await chat.world.set(tx.connection, tables.users, "pete", locked_at=chat.world.clock(), lock_reason="gone")
    with pytest.raises(Refused, match="WRONG_CODE"):
        await chat.links.redeem(person("pete"), code)
    async with chat.world.database.transaction() as tx:
        await chat.world.set(tx.connection, tables.users, "pete", locked_at=None, lock_reason="")
    with pytest.raises(Refused, match="WRONG_CODE"):
        await chat.links.redeem(person("pete"), code)  # used up


async def test_a_link_from_before_a_lock_counts_no_more(chat: Chat) -> None:
    world = chat.world
    world.clock.advance(minutes=1)
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.users, "sam", certificates_from=world.clock())
    assert (await chat.do("sam", Action.APPROVE, "oi-000000000000")).verdict is Verdict.NOT_LINKED
    await chat.link("sam")
    assert (await chat.do("sam", Action.APPROVE, "oi-000000000000")).verdict is Verdict.REFUSED


async def test_unlinking(chat: Chat) -> None:
    sam = await chat.world.caller("sam")
    await chat.links.unlink(sam, SLACK)
    assert (await chat.do("sam", Action.APPROVE, "oi-000000000000")).verdict is Verdict.NOT_LINKED
    async with refused(chat.world, "NOT_LINKED"):
        await chat.links.unlink(sam, SLACK)


async def test_a_chat_that_is_not_there(chat: Chat) -> None:
    async with refused(chat.world, "NO_SUCH_CHAT"):
        await chat.links.new_code(await chat.world.caller("sam"), "irc")

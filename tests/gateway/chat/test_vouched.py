"""Chat identities by a claim of the identity provider, and no other way then (R31)."""

from typing import Any

import pytest

from gateway.chat.linking import ChatLinks
from gateway.errors import Refused
from gateway.identity.oidc import chats
from gateway.identity.oidc.claims import person_of
from gateway.identity.oidc.settings import Claims
from gateway.store import contacts
from gateway.store.contacts import Contact
from tests.gateway.access.refusals import refused
from tests.gateway.chat.conftest import SLACK, Chat, person

pytestmark = pytest.mark.rule("R31")
ISSUER = "https://login.example.com"
MAPPING = Claims.model_validate({"chats": {"slack": {"workspace": "T1", "user": "slack_id"}}})
ALICE = {"sub": "1", "preferred_username": "alice", "groups": []}


async def signed_in(chat: Chat, user_id: str, **claims: Any) -> list[Contact]:
    said = person_of(ALICE | claims, MAPPING).chats
    async with chat.world.database.transaction() as tx:
        now = chat.world.clock()
        await chats.bind(tx, user_id, said, MAPPING.chats, now=now, source_address="192.0.2.1")
    async with chat.world.database.read() as connection:
        return await contacts.of_user(connection, user_id)


def links(chat: Chat) -> ChatLinks:
    return ChatLinks(chat.world.database, chat.world.clock, frozenset({SLACK}), {ISSUER: MAPPING.chats})


async def test_what_the_provider_says_is_bound_and_told_once(chat: Chat) -> None:
    for _ in range(2):
        [contact] = await signed_in(chat, "pete", slack_id="U-pete")
        assert (contact.key, contact.linked_by) == ("T1/U-pete", "claim")
    told = [event for event in await chat.events("chat.linked") if event.subject == "pete"]
    assert [event.details["by"] for event in told] == ["claim"]


async def test_what_it_says_no_more_counts_no_more(chat: Chat) -> None:
    await signed_in(chat, "pete", slack_id="U-pete")
    [contact] = await signed_in(chat, "pete", slack_id="U-other")
    assert contact.key == "T1/U-other"
    assert await signed_in(chat, "pete") == []
    assert await signed_in(chat, "sam") == []  # linked by a code before


async def test_nobody_is_taken_anything_from(chat: Chat) -> None:
    assert await signed_in(chat, "pete", slack_id="U-sam") == []
    [event] = await chat.events("chat.refused")
    assert (event.subject, event.details["key"]) == ("pete", "T1/U-sam")


async def test_a_code_binds_nobody_else_then(chat: Chat) -> None:
    await chat.world.person("kim", issuer=ISSUER)
    made = links(chat)

    async def redeem(name: str) -> str:
        code = (await made.new_code(await chat.world.caller("kim"), SLACK)).code
        return await made.redeem(person(name), code)

    code = (await made.new_code(await chat.world.caller("kim"), SLACK)).code
    async with refused(chat.world, "NOT_VOUCHED"):
        await made.redeem(person("kim"), code)
    await signed_in(chat, "kim", slack_id="U-kim")
    with pytest.raises(Refused, match="NOT_VOUCHED"):
        await redeem("mallory")
    assert await redeem("kim") == "kim"
    async with chat.world.database.read() as connection:
        [contact] = await contacts.of_user(connection, "kim")
    assert contact.linked_by == "claim"


@pytest.mark.parametrize("claim", ["U 1", "U/1", "x" * 65, "é", {"a": 1}])
async def test_claims_that_name_nobody(claim: object) -> None:
    with pytest.raises(Refused, match="CLAIM_UNUSABLE"):
        person_of(ALICE | {"slack_id": claim}, MAPPING)


def test_ids_of_teams_are_written_as_the_chat_says_them() -> None:
    mapping = Claims.model_validate({"chats": {"teams": {"workspace": "AB12-CD", "user": "oid"}}})
    assert person_of(ALICE | {"oid": "EF56-0A"}, mapping).chats == {"teams": ("ab12-cd", "ef56-0a")}
    said = person_of(ALICE | {"slack_id": "U-Alice"}, MAPPING).chats
    assert said == {"slack": ("T1", "U-Alice")}, "Slack's are taken to the letter"

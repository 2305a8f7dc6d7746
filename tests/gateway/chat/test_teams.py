"""Clicks on cards in Teams: each decides what a page or `jit` would, or says why not."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from approvals.model import Status
from gateway.identity.model import Role, RoleGrant
from gateway.identity.oidc import chats
from gateway.store import contacts
from notifiers.chat import NotFromThere
from notifiers.teams.card import CONTENT_TYPE
from notifiers.teams.incoming import KIND
from notifiers.wording import moment
from policy.model import PolicyKind
from tests.gateway.access.world import manual
from tests.gateway.chat.teams_chat import Chat, teams_chat
from tests.notifiers.teams.cloud import PERSONAL, SECRET, TENANT, activity, identity
from tests.notifiers.told import delivery


@pytest.fixture
async def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chat]:
    monkeypatch.setenv("TEAMS_TEST_SECRET", SECRET)
    async with teams_chat(tmp_path) as made:
        yield made


MESSAGE = "application/vnd.microsoft.activity.message"


def verbs(answer: dict[str, Any]) -> list[str]:
    assert (answer["statusCode"], answer["type"]) == (200, CONTENT_TYPE), answer
    return [action.get("verb", "link") for action in answer["value"]["actions"]]


def why(answer: dict[str, Any]) -> str:
    assert (answer["statusCode"], answer["type"]) == (200, MESSAGE), answer
    return str(answer["value"])


async def asked(chat: Chat, who: str = "alice", **more: Any) -> str:
    return (await chat.world.ask(who, "db-1", **more)).life.id


async def life(chat: Chat, request_id: str) -> Any:
    return (await chat.world.reader.get(await chat.world.caller("ada"), request_id)).life


@pytest.mark.rule("R16")
@pytest.mark.rule("R30")
async def test_two_levels_approve_and_one_takes_it_back(chat: Chat) -> None:
    request_id = await asked(chat)
    answer = await chat.clicked("sam", "approve", request_id, comment="go\r\n ahead <at>all</at>")
    assert verbs(answer) == ["revoke", "link"]
    assert "You approved." in json.dumps(answer)
    assert verbs(await chat.clicked("olga", "refresh", request_id, 2)) == ["approve", "deny", "link"]
    await chat.clicked("olga", "approve", request_id, 2)
    now = await life(chat, request_id)
    assert now.status is Status.APPROVED
    assert [(a.person.user_id, a.comment) for a in now.approvals] == [
        ("sam", "go ahead <at>all</at>"),
        ("olga", ""),
    ]
    assert verbs(await chat.clicked("sam", "revoke", request_id, 0)) == ["link"]
    assert (await life(chat, request_id)).status is Status.REVOKED
    assert await chat.refusals() == []


@pytest.mark.rule("R18")
async def test_one_denial_ends_it(chat: Chat) -> None:
    request_id = await asked(chat)
    answer = await chat.clicked("sam", "deny", request_id, comment="not today")
    assert verbs(answer) == ["link"]
    ended = await life(chat, request_id)
    assert ended.status is Status.REJECTED
    assert f"sam denied the request on {moment(ended.ended_at)}; it is over." in json.dumps(answer)
    assert f"{moment(ended.ended_at)} by sam" in json.dumps(answer)
    assert "Somebody" not in json.dumps(answer)


@pytest.mark.rule("R17")
async def test_each_sees_what_they_may_do(chat: Chat) -> None:
    request_id = await asked(chat, reason="<at>Eve</at> **now** {{DATE(2026-01-01T00:00:00Z)}}")
    assert verbs(await chat.clicked("sam", "show", request_id)) == ["approve", "deny", "link"]
    assert verbs(await chat.clicked("olga", "refresh", request_id)) == ["link"]  # of the next level
    assert verbs(await chat.clicked("alice", "refresh", request_id)) == ["link"]
    assert verbs(await chat.clicked("ada", "refresh", request_id)) == ["link"]
    answer = await chat.clicked("sam", "refresh", request_id)
    assert "{{" not in json.dumps(answer["value"])
    assert answer["value"]["refresh"]["userIds"] == ["29:sam"]
    before = await chat.world.rows()
    await chat.clicked("sam", "refresh", request_id)
    assert await chat.world.rows() == before


@pytest.mark.rule("R17")
async def test_wrong_persons_are_refused_and_it_is_noted(chat: Chat) -> None:
    request_id = await asked(chat)
    assert "NOT_PERMITTED" not in why(await chat.clicked("alice", "approve", request_id))
    assert "level" in why(await chat.clicked("olga", "approve", request_id)).lower()
    assert "lacks the permission" in why(await chat.clicked("ada", "deny", request_id))
    assert "who you are" in why(await chat.clicked("mallory", "approve", request_id))
    assert (await life(chat, request_id)).approvals == ()
    assert await chat.refusals() == ["NOT_PERMITTED", "NOT_ELIGIBLE", "NOT_PERMITTED", "NOT_LINKED"]
    assert "who you are" in why(await chat.clicked("mallory", "show", request_id))
    quiet = await chat.clicked("mallory", "refresh", request_id)
    assert quiet["statusCode"] == 403
    assert len(await chat.refusals()) == 4


@pytest.mark.rule("R17")
async def test_the_requester_decides_nothing_of_their_own(chat: Chat) -> None:
    await chat.world.grant(RoleGrant("user", "sam", Role.USER))
    request_id = await asked(chat, "sam")
    assert why(await chat.clicked("sam", "approve", request_id))
    assert (await life(chat, request_id)).status is Status.PENDING
    assert await chat.refusals() == ["OWN_REQUEST"]


async def test_other_tenants_are_not_heard(chat: Chat) -> None:
    request_id = await asked(chat)
    other = "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"
    for more in (
        {"conversation": {"id": "x", "conversationType": "personal", "tenantId": other}},
        {"channelData": {"tenant": {"id": other}}},
        {"channelData": {}, "conversation": {"id": "x"}},
        {"from": {"id": "29:guest", "aadObjectId": None}},
    ):
        answer = await chat.clicked("sam", "approve", request_id, **more)
        assert "other organizations" in why(answer)
    assert (await life(chat, request_id)).approvals == ()
    assert await chat.refusals() == ["EXTERNAL_PERSON"] * 4
    elsewhere = {"id": "x", "tenantId": other}
    written = activity(chat.cloud, "sam", text="hello", conversation=elsewhere)
    personal = elsewhere | {"conversationType": "personal"}
    added = activity(chat.cloud, "sam", type="installationUpdate", action="add", conversation=personal)
    assert [await chat.post(sent) for sent in (written, added)] == [{}, {}]
    assert chat.cloud.messages == {}
    assert len(await chat.refusals()) == 4


@pytest.mark.rule("R16")
async def test_a_click_that_comes_again_decides_nothing_again(chat: Chat) -> None:
    request_id = await asked(chat)
    click = chat.click("sam", "approve", request_id)
    assert verbs(await chat.post(click)) == ["revoke", "link"]
    assert why(await chat.post(click))
    await chat.clicked("olga", "approve", request_id, 2)
    await chat.clicked("sam", "revoke", request_id, 0)
    assert why(await chat.post(click))
    assert (await life(chat, request_id)).status is Status.REVOKED


async def test_two_clicks_at_once_count_as_one(chat: Chat) -> None:
    request_id = await asked(chat)
    answers = await asyncio.gather(
        chat.clicked("sam", "approve", request_id),
        chat.clicked("sue", "deny", request_id),
        chat.clicked("sam", "approve", request_id),
    )
    now = await life(chat, request_id)
    assert (now.status, len(now.approvals)) in {(Status.PENDING, 1), (Status.REJECTED, 0)}
    assert sorted(answer["type"] for answer in answers) == sorted([CONTENT_TYPE, MESSAGE, MESSAGE])
    assert len(await chat.refusals()) == 2


async def test_what_was_shown_must_be_what_is_decided(chat: Chat) -> None:
    request_id = await asked(chat)
    assert "not what was shown" in why(await chat.clicked("sam", "approve", request_id, 2))
    assert (await life(chat, request_id)).approvals == ()


async def test_a_click_after_the_end_says_what_became_of_it(chat: Chat) -> None:
    request_id = await asked(chat)
    chat.world.clock.advance(days=8)
    answer = await chat.clicked("sam", "approve", request_id)
    assert why(answer)
    assert (await life(chat, request_id)).approvals == ()


async def test_a_level_that_wants_a_fresh_sign_in_is_decided_on_the_page(chat: Chat) -> None:
    levels = "[{approvers: [{group: sre}], signInWithinMinutes: 5}]"
    await chat.world.put(PolicyKind.MANUAL, manual(levels=levels))
    request_id = await asked(chat)
    assert verbs(await chat.clicked("sam", "show", request_id)) == ["link", "link"]
    assert f"/requests/{request_id}" in why(await chat.clicked("sam", "approve", request_id))
    assert (await life(chat, request_id)).approvals == ()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"action": {"verb": "approve"}},
        {"action": {"verb": "give_back", "data": {"request": "oi-000000000000", "level": 1}}},
        {"action": {"verb": "approve", "data": {"request": "oi-000000000000", "level": 1, "comment": "x" * 300}}},
    ],
)
async def test_cards_of_others_do_nothing(chat: Chat, value: dict[str, Any]) -> None:
    before = (await chat.world.rows())["access_requests"]
    click = activity(chat.cloud, "sam", type="invoke", name="adaptiveCard/action", value=value)
    answer = await chat.post(click)
    assert answer["type"] != CONTENT_TYPE
    assert (await chat.world.rows())["access_requests"] == before


@pytest.mark.parametrize(
    "value", [7, {"action": 7}, {"action": {"data": {"level": 99}}}, {"action": {"verb": "x" * 65}}]
)
async def test_values_of_no_form_are_refused(chat: Chat, value: Any) -> None:
    click = activity(chat.cloud, "sam", type="invoke", name="adaptiveCard/action", value=value)
    with pytest.raises(NotFromThere):
        await chat.post(click)


async def test_people_are_told_how_to_begin_when_the_bot_is_installed(chat: Chat) -> None:
    await chat.post(activity(chat.cloud, "sam", type="installationUpdate", action="add"))
    [message] = chat.cloud.messages.values()
    assert "jit link teams" in message["text"]
    assert message["textFormat"] == "plain"
    await chat.post(activity(chat.cloud, "sam", type="installationUpdate", action="remove"))
    await chat.post(activity(chat.cloud, "sam", type="typing", value=[1]))
    channel = {"id": "19:x", "conversationType": "channel", "tenantId": TENANT}
    await chat.post(activity(chat.cloud, "sam", text="JKLM-NPQR", conversation=channel))
    assert len(chat.cloud.messages) == 1


async def test_a_service_that_does_not_take_our_answer_is_no_failure_of_theirs(chat: Chat) -> None:
    chat.cloud.left.add(PERSONAL)
    assert await chat.written("sam", "hello") == ""


@pytest.mark.rule("R31")
async def test_whoever_types_their_code_is_known_from_then_on(chat: Chat) -> None:
    pete = await chat.world.caller("pete")
    code = (await chat.links.new_code(pete, KIND)).code
    assert "You are pete here" in await chat.written("pete", f"link {code.upper()}\n")
    async with chat.world.database.read() as connection:
        found = await contacts.by_key(connection, KIND, f"{TENANT}/{identity('pete')}")
    assert found is not None
    assert found.user_id == "pete"
    assert found.address == {"conversation": PERSONAL, "service_url": chat.cloud.service_url, "user": "29:pete"}
    assert "no code of this gateway" in await chat.written("mallory", code)  # it worked once


async def test_codes_are_taken_in_personal_chats_of_this_tenant_only(chat: Chat) -> None:
    code = (await chat.links.new_code(await chat.world.caller("pete"), KIND)).code
    channel = {"id": "19:x", "conversationType": "channel", "tenantId": TENANT}
    assert await chat.written("pete", code, conversation=channel) == ""
    assert await chat.refusals() == []
    other = {"id": PERSONAL, "conversationType": "personal", "tenantId": "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"}
    assert await chat.written("pete", code, conversation=other) == ""
    assert await chat.refusals() == ["EXTERNAL_PERSON"]
    assert "You are pete here" in await chat.written("pete", code)


async def test_a_linked_person_is_reached_where_they_linked(chat: Chat) -> None:
    code = (await chat.links.new_code(await chat.world.caller("pete"), KIND)).code
    await chat.written("pete", code)
    chat.cloud.messages.clear()
    async with chat.world.database.read() as connection:
        reached = await contacts.addresses(connection, KIND, {"pete"})
    await chat.notifier.deliver(delivery(address=dict(reached["pete"])))
    [(where, _)] = chat.cloud.messages
    assert where == PERSONAL


@pytest.mark.rule("R31")
async def test_whom_the_provider_names_is_reached_and_decides_without_ever_linking(chat: Chat) -> None:
    said = {KIND: (TENANT, identity("pete"))}
    chat.cloud.vouched("pete")
    async with chat.world.database.transaction() as tx:
        await chats.bind(tx, "pete", said, {KIND}, now=chat.world.clock(), source_address="192.0.2.1")
    async with chat.world.database.read() as connection:
        reached = await contacts.addresses(connection, KIND, {"pete"})
    await chat.notifier.deliver(delivery(address=dict(reached["pete"])))
    [(where, _)] = chat.cloud.messages
    assert where == "a:pete"
    request_id = await asked(chat)
    await chat.clicked("sam", "approve", request_id)
    await chat.clicked("pete", "approve", request_id, 2)
    assert (await life(chat, request_id)).status is Status.APPROVED

"""People whom the identity provider names in Teams and who never wrote to the bot: it begins to talk to them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from notifiers.errors import TryAgain, Undeliverable
from notifiers.model import NoticeKind, Relation
from notifiers.teams import TeamsNotifier, TeamsSettings
from notifiers.teams.service import ConnectorService
from tests.notifiers.teams.cloud import TENANT, Cloud, identity
from tests.notifiers.told import delivery

pytestmark = pytest.mark.rule("R31")
BEGIN = "POST /teams/v3/conversations"
_SAY = "POST /teams/v3/conversations/a%3Avera/activities"


def connector_calls(cloud: Cloud) -> list[str]:
    return [call for call in cloud.asked if "/conversations" in call]


async def test_the_first_notice_begins_the_chat_and_later_ones_change_it(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    vera = cloud.vouched("vera")
    receipt = await notifier.deliver(delivery(address=vera))
    assert receipt.reference == {"service_url": cloud.service_url, "conversation": "a:vera", "activity": "1"}
    assert connector_calls(cloud) == [BEGIN, _SAY]
    later = delivery(NoticeKind.APPROVAL_GIVEN, address=vera, first=dict(receipt.reference), event=8)
    assert (await notifier.deliver(later)).reference == receipt.reference
    assert cloud.updates == {("a:vera", "1"): 1}
    assert connector_calls(cloud).count(BEGIN) == 1


async def test_what_they_wait_for_is_said_in_the_chat_that_was_begun(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    vera = cloud.vouched("vera")
    first = dict((await notifier.deliver(delivery(address=vera))).reference or {})
    told = delivery(NoticeKind.APPROVED, Relation.REQUESTER, address=vera, first=first, event=8)
    await notifier.deliver(told)
    assert list(cloud.messages) == [("a:vera", "1"), ("a:vera", "2")]


async def test_their_card_asks_for_itself_though_nobody_knows_their_id_in_teams(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    await notifier.deliver(delivery(address=cloud.vouched("vera")))
    [message] = cloud.messages.values()
    card = message["attachments"][0]["content"]
    assert [action.get("verb") for action in card["actions"]] == ["approve", "deny", None]
    assert card["refresh"]["action"]["verb"] == "refresh"
    assert "userIds" not in card["refresh"]  # ids of the directory are none of those


async def test_ids_are_compared_whatever_their_case(cloud: Cloud, notifier: TeamsNotifier) -> None:
    vera = cloud.vouched("jo")  # 6a6f
    assert vera["user"] != vera["user"].upper()
    await notifier.deliver(delivery(address={name: part.upper() for name, part in vera.items()}))
    assert [where for where, _ in cloud.messages] == ["a:jo"]


async def test_a_gateway_that_dies_once_the_chat_was_begun_neither_loses_nor_doubles(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    vera = cloud.vouched("vera")
    service = ConnectorService(TeamsSettings.model_validate(cloud.settings()))
    await service.begin_chat(vera["user"])  # and no more of it
    await service.close()
    assert cloud.messages == {}
    receipt = await notifier.deliver(replace(delivery(address=vera), attempt=2))
    assert list(cloud.messages) == [("a:vera", "1")]
    assert dict(receipt.reference or {})["conversation"] == "a:vera"


@pytest.mark.parametrize("begun", [0, 1])
async def test_a_limit_is_waited_for_at_either_step(cloud: Cloud, notifier: TeamsNotifier, begun: int) -> None:
    vera = cloud.vouched("vera")
    cloud.answers = [None] * begun + [web.Response(status=429, headers={"Retry-After": "17"})]
    with pytest.raises(TryAgain, match="429") as limited:
        await notifier.deliver(delivery(address=vera))
    assert limited.value.after == 17
    await notifier.deliver(replace(delivery(address=vera), attempt=2))
    assert list(cloud.messages) == [("a:vera", "1")]


async def test_who_does_not_have_the_app_is_an_operators_matter(cloud: Cloud, notifier: TeamsNotifier) -> None:
    nobody = {"workspace": TENANT, "user": identity("nobody")}
    with pytest.raises(
        Undeliverable, match="403 ForbiddenOperationException: the app is not installed"
    ) as refused:
        await notifier.deliver(delivery(address=nobody))
    assert "jit link teams" in str(refused.value)
    assert connector_calls(cloud) == [BEGIN]
    cloud.vouched("nobody")  # they got it
    await notifier.deliver(delivery(address=nobody))
    assert list(cloud.messages) == [("a:nobody", "1")]


@pytest.mark.parametrize("status", [400, 404])
async def test_whom_teams_does_not_know_is_the_same_matter(
    cloud: Cloud, notifier: TeamsNotifier, status: int
) -> None:
    problem: dict[str, Any] = {"error": {"code": "BadArgument", "message": "Unknown."}}
    cloud.answers = [web.Response(status=status, text=json.dumps(problem), content_type="application/json")]
    with pytest.raises(Undeliverable, match=f"{status} BadArgument: .* Teams does not know them"):
        await notifier.deliver(delivery(address=cloud.vouched("vera")))


async def test_whoever_removed_the_app_since_is_told_nothing(cloud: Cloud, notifier: TeamsNotifier) -> None:
    vera = cloud.vouched("vera")
    cloud.left.add("a:vera")
    with pytest.raises(Undeliverable, match=r"403 .*the bot was removed there"):
        await notifier.deliver(delivery(address=vera))


async def test_an_answer_without_a_conversation_is_tried_again(cloud: Cloud, notifier: TeamsNotifier) -> None:
    cloud.answers = [web.Response(status=201, text="{}", content_type="application/json")]
    with pytest.raises(TryAgain, match="did not say which"):
        await notifier.deliver(delivery(address=cloud.vouched("vera")))
    assert cloud.messages == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"workspace": "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"}, "of another tenant than the bot"),
        ({"user": "vera"}, "no directory object id"),
        ({"user": f"{identity('vera')}\n"}, "no directory object id"),
        ({"workspace": ""}, "neither a channel nor a person"),
        ({"user": ""}, "neither a channel nor a person"),
    ],
)
async def test_who_cannot_be_meant_is_not_asked_for(
    cloud: Cloud, notifier: TeamsNotifier, change: dict[str, str], why: str
) -> None:
    with pytest.raises(Undeliverable, match=why):
        await notifier.deliver(delivery(address=cloud.vouched("vera") | change))
    assert cloud.asked == []

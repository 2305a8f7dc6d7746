"""Cards at a stand-in of Teams that judges them, and what becomes of a message when the service does not work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.model import Action, Delivery, NoticeKind, Relation
from notifiers.teams import TeamsNotifier, TeamsSettings, make
from notifiers.teams import card as cards
from notifiers.wording import Wording
from tests.notifiers.teams.cloud import CHANNEL, PERSONAL, SECRET, USER, Cloud, texts
from tests.notifiers.told import HOSTILE, delivery

IN_CHANNEL = {"channel": CHANNEL}


def asked_of(cloud: Cloud, **more: Any) -> Delivery:
    return delivery(address=cloud.person(), **more)


def only_card(cloud: Cloud) -> dict[str, Any]:
    [message] = cloud.messages.values()
    found: dict[str, Any] = message["attachments"][0]["content"]
    return found


def buttons(card: dict[str, Any]) -> list[str]:
    return [action.get("verb", action["type"]) for action in card["actions"]]


@pytest.mark.rule("R30")
async def test_an_approver_gets_buttons_a_comment_and_a_card_of_their_own(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    await notifier.deliver(asked_of(cloud))
    card = only_card(cloud)
    assert buttons(card) == ["approve", "deny", "Action.OpenUrl"]
    assert card["actions"][0]["data"] == {"request": "oi-3cdf121b337b", "level": 1}
    assert card["body"][-1]["type"] == "Input.Text"
    assert card["refresh"]["userIds"] == [USER]
    assert card["refresh"]["action"]["verb"] == "refresh"


@pytest.mark.rule("R30")
async def test_a_channel_sees_no_decision_until_somebody_asks_for_theirs(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    asked = delivery(relation=Relation.WATCHER, address=IN_CHANNEL)
    receipt = await notifier.deliver(asked)
    card = only_card(cloud)
    assert buttons(card) == ["show", "Action.OpenUrl"]
    assert "userIds" not in card["refresh"]
    assert not any(element["type"] == "Input.Text" for element in card["body"])
    assert receipt.reference is not None
    assert receipt.reference["conversation"].startswith(f"{CHANNEL};messageid=")


async def test_a_level_that_wants_a_fresh_sign_in_leads_to_the_page(cloud: Cloud, notifier: TeamsNotifier) -> None:
    await notifier.deliver(asked_of(cloud, step_up=True))
    card = only_card(cloud)
    assert buttons(card) == ["Action.OpenUrl", "Action.OpenUrl"]
    assert {action["url"] for action in card["actions"]} == {"https://gate.example.org/requests/oi-3cdf121b337b"}


async def test_without_a_web_listener_there_is_nothing_to_click(cloud: Cloud, notifier: TeamsNotifier) -> None:
    asked = asked_of(cloud)
    await notifier.deliver(replace(asked, notice=replace(asked.notice, link="")))
    card = only_card(cloud)
    assert card["actions"] == []
    assert "refresh" not in card


async def test_whoever_approved_may_take_it_back(cloud: Cloud, notifier: TeamsNotifier) -> None:
    told = delivery(NoticeKind.APPROVED, address=cloud.person(), status="Approved", level=0)
    await notifier.deliver(replace(told, actions=(Action.REVOKE,)))
    assert buttons(only_card(cloud)) == ["revoke", "Action.OpenUrl"]


@pytest.mark.rule("R30")
async def test_the_first_message_becomes_the_outcome_with_who_and_when(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    receipt = await notifier.deliver(asked_of(cloud))
    first = dict(receipt.reference or {})
    later = delivery(NoticeKind.REJECTED, address=cloud.person(), first=first, event=8, status="Rejected", level=0)
    assert (await notifier.deliver(later)).reference == first
    card = only_card(cloud)
    assert "bob, level 1, 2026-11-24 09:30 UTC: fine with me" in texts(next(iter(cloud.messages.values())))
    assert buttons(card) == ["Action.OpenUrl"]
    assert "refresh" not in card


@pytest.mark.parametrize(
    ("kind", "relation", "is_aloud"),
    [
        (NoticeKind.REMINDER, Relation.APPROVER, True),
        (NoticeKind.APPROVAL_GIVEN, Relation.APPROVER, False),
        (NoticeKind.APPROVED, Relation.REQUESTER, True),
        (NoticeKind.APPROVED, Relation.WATCHER, True),
    ],
)
async def test_what_somebody_waits_for_is_said_anew(
    cloud: Cloud, notifier: TeamsNotifier, kind: NoticeKind, relation: Relation, *, is_aloud: bool
) -> None:
    address = IN_CHANNEL if relation is Relation.WATCHER else cloud.person()
    receipt = await notifier.deliver(delivery(address=address))
    first = dict(receipt.reference or {})
    await notifier.deliver(delivery(kind, relation, address=address, first=first, event=8))
    assert len(cloud.messages) == 1 + is_aloud
    if is_aloud:
        [_, (where, reply)] = cloud.messages.items()
        assert where[0] == first["conversation"]
        assert reply["replyToId"] == first["activity"]


async def test_a_message_that_somebody_deleted_is_made_again(cloud: Cloud, notifier: TeamsNotifier) -> None:
    receipt = await notifier.deliver(asked_of(cloud))
    cloud.delete(receipt.reference)
    first = dict(receipt.reference or {})
    later = await notifier.deliver(delivery(NoticeKind.APPROVED, address=cloud.person(), first=first, event=8))
    assert later.reference is not None
    assert later.reference["activity"] != first["activity"]
    assert len(cloud.messages) == 1


@pytest.mark.parametrize("is_later", [False, True])
async def test_where_the_bot_was_removed_nothing_is_tried_again(
    cloud: Cloud, notifier: TeamsNotifier, *, is_later: bool
) -> None:
    first = dict((await notifier.deliver(asked_of(cloud))).reference or {}) if is_later else None
    cloud.left.add(PERSONAL)
    with pytest.raises(Undeliverable, match="the bot was removed there"):
        await notifier.deliver(asked_of(cloud, first=first))
    cloud.conversations.remove(PERSONAL)
    with pytest.raises(Undeliverable, match="no such conversation"):
        await notifier.deliver(asked_of(cloud, first=first))


async def test_a_limit_is_waited_for_as_long_as_teams_asks(cloud: Cloud, notifier: TeamsNotifier) -> None:
    cloud.answers = [web.Response(status=429, headers={"Retry-After": "17"}), web.Response(status=429)]
    with pytest.raises(TryAgain, match="429") as limited:
        await notifier.deliver(asked_of(cloud))
    assert limited.value.after == 17
    with pytest.raises(TryAgain) as limited:
        await notifier.deliver(asked_of(cloud))
    assert limited.value.after is None
    await notifier.deliver(asked_of(cloud))
    assert len(cloud.messages) == 1


@pytest.mark.parametrize("status", [412, 500, 502, 503, 504])
async def test_what_passes_is_tried_again(cloud: Cloud, notifier: TeamsNotifier, status: int) -> None:
    cloud.answers = [web.Response(status=status, text="<html>")]
    with pytest.raises(TryAgain):
        await notifier.deliver(asked_of(cloud))


async def test_a_token_is_kept_until_shortly_before_its_end(cloud: Cloud, notifier: TeamsNotifier) -> None:
    await notifier.deliver(asked_of(cloud))
    cloud.now = 3299
    await notifier.deliver(asked_of(cloud))
    assert len(cloud.tokens) == 1
    cloud.now = 3301
    await notifier.deliver(asked_of(cloud))
    assert len(cloud.tokens) == 2


async def test_a_token_that_ended_before_its_time_is_replaced(cloud: Cloud, notifier: TeamsNotifier) -> None:
    await notifier.deliver(asked_of(cloud))
    cloud.tokens.clear()
    cloud.tokens["token-0"] = 0.0  # the next one has another name
    await notifier.deliver(asked_of(cloud))
    assert len(cloud.messages) == 2


async def test_tokens_that_are_never_taken_are_no_endless_matter(cloud: Cloud, notifier: TeamsNotifier) -> None:
    cloud.answers = [web.Response(status=401), web.Response(status=401)]
    with pytest.raises(TryAgain, match="401"):
        await notifier.deliver(asked_of(cloud))
    assert len(cloud.tokens) == 2


async def test_a_wrong_secret_is_an_operators_matter(cloud: Cloud, notifier: TeamsNotifier) -> None:
    cloud.secret = "changed"
    with pytest.raises(TryAgain, match="gave the bot no token: 401 invalid_client") as refused:
        await notifier.deliver(asked_of(cloud))
    assert SECRET not in str(refused.value)


async def test_a_token_goes_to_no_address_that_others_can_read(cloud: Cloud, notifier: TeamsNotifier) -> None:
    for address in ("http://evil.example/", "https://x@evil.example/", "", "file:///etc/passwd"):
        where = {**cloud.person(), "service_url": address or "-"}
        with pytest.raises(Undeliverable):
            await notifier.deliver(delivery(address=where))
    assert not cloud.tokens


async def test_a_card_never_outgrows_teams(cloud: Cloud, notifier: TeamsNotifier) -> None:
    conflict = tuple(f"{number} " + "語" * 1400 for number in range(60))
    await notifier.deliver(asked_of(cloud, conflict=conflict))
    card = only_card(cloud)
    assert cards.size(card) <= cards.LIMIT_BYTES
    [message] = cloud.messages.values()
    assert "oi-3cdf121b337b" in texts(message)
    assert "see the request itself" in texts(message)


@pytest.mark.parametrize(
    "words",
    [
        HOSTILE,
        "{{DATE(2026-01-01T00:00:00Z,SHORT)}}",
        "{{{DATE(2026-01-01T00:00:00Z)}}}",
        "{{{{TIME(2026-01-01T00:00:00Z)}}}}",
        "<at>Eve</at>",
        "**a** [b](c)",
    ],
)
def test_words_stay_words(words: str) -> None:
    asked = delivery(reason=words, requester_name=words, node_name=words)
    card = cards.card(asked, Wording().say(asked))
    kinds = {element["type"] for element in card["body"]}
    assert kinds == {"RichTextBlock", "Input.Text"}
    runs = [run["text"] for element in card["body"] for run in element.get("inlines", [])]
    assert any(words[-8:] in run for run in runs)
    assert not any("{{" in run for run in runs)


def test_settings_name_what_is_wrong(tmp_path: Path) -> None:
    good = Cloud("http://127.0.0.1:1").settings()
    for change in (
        {"app_id": "the bot"},
        {"tenant_id": "common"},
        {"client_secret_file": str(tmp_path)},
        {"client_secret_environment": None},
        {"insecure_loopback": False},
        {"login_url": "http://login.example"},
        {"concurrency": 0},
        {"password": "x"},
        {"templates_dir": str(tmp_path / "gone")},
    ):
        with pytest.raises(ValidationError):
            TeamsSettings.model_validate(good | change)


def test_a_secret_that_is_not_there_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Cloud("http://127.0.0.1:1").settings()
    monkeypatch.delenv("TEAMS_TEST_SECRET", raising=False)
    with pytest.raises(Unusable, match="TEAMS_TEST_SECRET"):
        make(settings)
    with pytest.raises(Unusable, match="can't be read"):
        make({**settings, "client_secret_environment": None, "client_secret_file": str(tmp_path / "none")})


async def test_what_is_sent_again_after_a_crash_comes_twice_and_what_is_changed_does_not(
    cloud: Cloud, notifier: TeamsNotifier
) -> None:
    """Teams has no key by which a message that came would be known: this is how often it comes."""
    receipt = await notifier.deliver(asked_of(cloud))
    await notifier.deliver(replace(asked_of(cloud), attempt=2))  # a gateway died before it had noted the first
    assert len(cloud.messages) == 2
    first = dict(receipt.reference or {})
    for attempt in (1, 2, 3):
        again = asked_of(cloud, kind=NoticeKind.APPROVAL_GIVEN, first=first, event=8)
        await notifier.deliver(replace(again, attempt=attempt))
    assert len(cloud.messages) == 2

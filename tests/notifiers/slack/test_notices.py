"""Notices in Slack: what is sent, what changes, and what is not said twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.model import Action, Delivery, NoticeKind, Receipt, Relation
from notifiers.slack import SlackNotifier, make
from notifiers.slack.settings import SlackSettings
from tests.notifiers.slack.workspace import CHANNEL, WORKSPACE, Workspace, workspace
from tests.notifiers.told import AT, EMOJI, HOSTILE, delivery

pytestmark = pytest.mark.rule("R30")
PLACE = {"channel": CHANNEL}
PERSON = {"workspace": WORKSPACE, "user": "UBOB"}
BOTH = (Action.APPROVE, Action.DENY)


@pytest.fixture
async def slack() -> AsyncIterator[Workspace]:
    async with workspace() as made:
        made.clock = AT.timestamp
        yield made


@pytest.fixture
async def notifier(slack: Workspace, tmp_path: Path) -> AsyncIterator[SlackNotifier]:
    made = make(slack.settings(tmp_path))
    yield made
    await made.close()


def asked(address: dict[str, str] | None = None, **more: object) -> Delivery:
    return replace(delivery(address=address or PLACE, **more), actions=BOTH)  # type: ignore[arg-type]  # a test's


def later_than(first: Receipt, kind: NoticeKind, relation: Relation = Relation.APPROVER) -> Delivery:
    reference = dict(first.reference or {})
    return replace(delivery(kind, relation, address=PLACE, first=reference, event=8), id="d-2")


async def test_a_channel_gets_buttons_that_say_what_they_are_about(
    slack: Workspace, notifier: SlackNotifier
) -> None:
    await notifier.deliver(asked())
    [message] = slack.top()
    assert list(message.buttons()) == ["Approve", "Deny", "Open the request"]
    assert message.buttons()["Approve"]["value"] == '{"request": "oi-3cdf121b337b", "level": 1, "channel": ""}'


async def test_each_fact_has_a_line(slack: Workspace, notifier: SlackNotifier) -> None:
    await notifier.deliver(asked())
    facts = slack.top()[0].content["blocks"][2]["elements"][0]["elements"]
    lines = "".join(part["text"] for part in facts).split("\n")
    assert (lines[0], lines[-1]) == ("Requester: alice (Alice Liddell)", "Request: oi-3cdf121b337b")


async def test_a_person_gets_a_direct_message(slack: Workspace, notifier: SlackNotifier) -> None:
    receipt = await notifier.deliver(asked(PERSON))
    assert receipt.reference == {"channel": "D-UBOB", "ts": slack.top()[0].ts}


async def test_a_level_that_wants_a_fresh_sign_in_gets_no_button_that_decides(
    slack: Workspace, notifier: SlackNotifier
) -> None:
    await notifier.deliver(asked(step_up=True))
    [message] = slack.top()
    assert [one["action_id"] for one in message.buttons().values()] == ["open"]


async def test_the_first_message_turns_into_the_outcome(slack: Workspace, notifier: SlackNotifier) -> None:
    receipt = await notifier.deliver(asked())
    later = delivery(
        NoticeKind.REJECTED, Relation.WATCHER, address=PLACE, first=dict(receipt.reference or {}), event=8
    )
    await notifier.deliver(replace(later, id="d-2"))
    [message] = slack.top()
    assert message.updates == 1
    assert "Approve" not in message.buttons()
    [said] = slack.thread(message)
    assert "carol" in said.read()


async def test_what_was_sent_before_a_crash_is_found(slack: Workspace, notifier: SlackNotifier) -> None:
    first = await notifier.deliver(asked())
    again = await notifier.deliver(replace(asked(), attempt=2))
    assert again == first
    later = replace(
        delivery(NoticeKind.APPROVED, Relation.WATCHER, address=PLACE, first=dict(first.reference or {})), id="d-2"
    )
    await notifier.deliver(later)
    await notifier.deliver(replace(later, attempt=2))
    [message] = slack.top()
    assert len(slack.thread(message)) == 1


@pytest.mark.parametrize("reached", ["nothing", "update", "reply"], ids="only {} before".format)
async def test_a_later_notice_is_said_once_whatever_the_first_try_reached(
    slack: Workspace, notifier: SlackNotifier, reached: str
) -> None:
    first = await notifier.deliver(asked())
    later = later_than(first, NoticeKind.APPROVED, Relation.WATCHER)
    slack.breaks_after = {"nothing": 0, "update": 1, "reply": 2}[reached]
    if reached == "reply":
        await notifier.deliver(later)  # what it answers never comes to be written down
    else:
        with pytest.raises(TryAgain):
            await notifier.deliver(later)
    slack.breaks_after = None
    await notifier.deliver(replace(later, attempt=2))
    [message] = slack.top()
    [said] = slack.thread(message)
    assert said.read().startswith("Approved:")


async def test_history_is_read_for_a_further_try_only(slack: Workspace, notifier: SlackNotifier) -> None:
    first = await notifier.deliver(asked())
    later = later_than(first, NoticeKind.APPROVED, Relation.WATCHER)
    await notifier.deliver(later)
    assert slack.calls == ["chat.postMessage", "chat.update", "chat.postMessage"]
    await notifier.deliver(replace(later, attempt=2))
    await notifier.deliver(replace(asked(), id="d-3", attempt=2))
    assert slack.calls[3:] == [
        *("chat.update", "conversations.replies"),
        *("conversations.history", "chat.postMessage"),
    ]


async def test_what_was_sent_is_found_below_many_newer_messages(slack: Workspace, notifier: SlackNotifier) -> None:
    slack.clock = (AT - timedelta(minutes=2)).timestamp
    older = [await notifier.deliver(replace(asked(), id=f"older-{number}")) for number in range(3)]
    slack.clock = (AT - timedelta(seconds=30)).timestamp  # a clock may be behind ours
    first = await notifier.deliver(asked())
    slack.clock = AT.timestamp
    for number in range(2 * 200 + 50):
        slack.said({"text": "more", "metadata": {"event_payload": {"delivery": f"newer-{number}"}}})
    slack.calls.clear()
    assert await notifier.deliver(replace(asked(), attempt=2)) == first
    last = await notifier.deliver(replace(asked(), id="newer-449", attempt=2))
    assert last.reference == {"channel": CHANNEL, "ts": slack.top()[-1].ts}
    assert slack.calls == ["conversations.history"] * (1 + 3)
    assert await notifier.deliver(replace(asked(), id="older-0", attempt=2)) not in older


async def test_another_delivery_is_not_taken_for_it(slack: Workspace, notifier: SlackNotifier) -> None:
    await notifier.deliver(asked())
    await notifier.deliver(replace(asked(), id="d-other", attempt=2))
    assert len(slack.top()) == 2


async def test_a_message_that_somebody_deleted_is_said_anew(slack: Workspace, notifier: SlackNotifier) -> None:
    receipt = await notifier.deliver(asked())
    slack.messages.clear()
    later = delivery(NoticeKind.APPROVED, address=PLACE, first=dict(receipt.reference or {}))
    assert await notifier.deliver(later) != receipt
    assert len(slack.top()) == 1


async def test_an_archived_channel_is_not_tried_again(slack: Workspace, notifier: SlackNotifier) -> None:
    slack.archived.add(CHANNEL)
    with pytest.raises(Undeliverable, match="is_archived"):
        await notifier.deliver(asked())


async def test_a_person_of_another_workspace_is_nobody(notifier: SlackNotifier) -> None:
    with pytest.raises(Undeliverable, match="jit link slack"):
        await notifier.deliver(asked({"workspace": "T0OTHER", "user": "UBOB"}))


async def test_slack_says_how_long_to_wait(slack: Workspace, notifier: SlackNotifier) -> None:
    slack.answers = [
        web.Response(status=429, headers={"Retry-After": "7"}, text="{}", content_type="application/json")
    ]
    with pytest.raises(TryAgain) as failure:
        await notifier.deliver(asked())
    assert failure.value.after == 7


async def test_a_channel_takes_one_message_a_second_and_all_arrive(
    slack: Workspace, notifier: SlackNotifier
) -> None:
    """Each waits as long as Slack says, as the deliverer does for the whole channel."""
    passed, slack.is_paced = 0.0, True
    slack.clock = lambda: AT.timestamp() + passed
    waiting = [replace(asked(), id=f"d-{number}") for number in range(20)]
    while waiting:
        tried = [waiting.pop(0) for _ in waiting[: notifier.concurrency]]
        ends = await asyncio.gather(*map(notifier.deliver, tried), return_exceptions=True)
        pauses = [end.after for end in ends if isinstance(end, TryAgain)]
        assert all(pause is not None for pause in pauses)
        passed += max((pause or 0 for pause in pauses), default=0)
        failed = [one for one, end in zip(tried, ends, strict=True) if isinstance(end, TryAgain)]
        waiting = [*(replace(one, attempt=one.attempt + 1) for one in failed), *waiting]
    said = [message.content["metadata"]["event_payload"]["delivery"] for message in slack.top()]
    assert sorted(said) == sorted(f"d-{number}" for number in range(20))
    assert passed >= 20 - 5  # some at once, then one a second


@pytest.mark.parametrize(
    "error", ["account_inactive", "token_revoked", "token_expired", "invalid_auth", "missing_scope"]
)
async def test_what_an_operator_can_mend_is_tried_again(
    slack: Workspace, notifier: SlackNotifier, error: str
) -> None:
    slack.answers = [web.json_response({"ok": False, "error": error})]
    with pytest.raises(TryAgain, match=error):
        await notifier.deliver(asked())


@pytest.mark.parametrize("answer", ["", "<html>", '{"ok": false}', '{"ok": false, "error": "fatal_error"}', "[]"])
async def test_answers_that_are_none(slack: Workspace, notifier: SlackNotifier, answer: str) -> None:
    slack.answers = [web.Response(text=answer, content_type="application/json")]
    with pytest.raises(TryAgain):
        await notifier.deliver(asked())


@pytest.mark.parametrize("reason", [HOSTILE, EMOJI, "<!channel> <@UBOB> *x* `y`", "&lt;" * 64])
async def test_what_people_wrote_is_in_no_text_that_slack_reads_as_markup(
    slack: Workspace, notifier: SlackNotifier, reason: str
) -> None:
    await notifier.deliver(
        asked(reason=reason, requester="<!here>", requester_name=reason[:64], node_name="<!here>")
    )
    [message] = slack.top()
    assert "<" not in message.content["text"]
    assert all(one["type"] != "mrkdwn" for one in _parts(message.content["blocks"]))


async def test_the_largest_notice_fits(slack: Workspace, notifier: SlackNotifier) -> None:
    decided = delivery().notice.subject.decisions * 25
    conflict = tuple(f"policy-{number}: {'k' * 128}={'v' * 256}" for number in range(50))
    await notifier.deliver(asked(reason="🚒" * 256, decisions=decided, conflict=conflict, end_note="n" * 4000))
    read = slack.top()[0].read()
    assert "And more: \nsee the request itself" in read
    assert "Request: \noi-3cdf121b337b" in read


async def test_a_token_of_another_workspace_is_told(slack: Workspace, tmp_path: Path) -> None:
    notifier = make(slack.settings(tmp_path) | {"workspace": "T0OTHER"})
    with pytest.raises(Undeliverable, match="another workspace"):
        await notifier.check()
    await notifier.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"bot_token_file": None},
        {"app_token_environment": "X"},
        {"signing_secret_file": None},
        {"workspace": "nothing"},
        {"workspace": "E0ENTERPRISE"},  # people are of a workspace, whose id begins with T
        {"api_url": "http://slack.example/api/"},
        {"insecure_loopback": False},
        {"unknown": 1},
        {"templates_dir": "/nowhere/at/all"},
    ],
)
async def test_settings_that_can_not_be(slack: Workspace, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SlackSettings.model_validate(slack.settings(tmp_path) | wrong)


async def test_a_secret_that_is_not_there_may_come(slack: Workspace, tmp_path: Path) -> None:
    settings = slack.settings(tmp_path)
    (tmp_path / "bot").unlink()
    with pytest.raises(Unusable, match="the bot token"):
        make(settings)


def _parts(found: object) -> list[dict[str, object]]:
    if isinstance(found, dict):
        inner = [part for value in found.values() for part in _parts(value)]
        return [found, *inner] if "type" in found else inner
    return [part for value in found for part in _parts(value)] if isinstance(found, list) else []

"""What people do in Slack, by both ways in, at a desk that writes down what it is asked (R30, R31)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from notifiers.chat import ChatNotifier, ChatPerson, Click, Incoming, NotFromThere, Reply, Standing, Verdict
from notifiers.model import Action
from notifiers.slack import SlackNotifier, handling, make
from tests.notifiers.slack.workspace import (
    ACKNOWLEDGE_SECONDS,
    CHANNEL,
    Message,
    Workspace,
    check_view,
    signed,
    workspace,
)
from tests.notifiers.told import AT, EMOJI, HOSTILE, SUBJECT, delivery

pytestmark = pytest.mark.rule("R30")
DONE = Reply(Verdict.DONE, "You approved.")
REFUSED = Reply(Verdict.REFUSED, "bob is not named at this level <!here>.", "Ask carol.")
SIGN_IN = Reply(
    Verdict.SIGN_IN, "Sign in anew.", "Open the page.", "https://gate.example/requests/oi-3cdf121b337b"
)


@dataclass
class Desk:
    """What is asked of it, and what it answers."""

    clicks: list[Click] = field(default_factory=list)
    links: list[tuple[ChatPerson, str]] = field(default_factory=list)
    asked: list[tuple[ChatPerson, Action | None]] = field(default_factory=list)
    answer: Reply = DONE
    standing_is: Standing | Reply = field(
        default_factory=lambda: Standing(SUBJECT, AT, (Action.APPROVE, Action.DENY))
    )
    slow: asyncio.Event | None = None

    async def decide(self, click: Click) -> Reply:
        self.clicks.append(click)
        if self.slow is not None:
            await self.slow.wait()
        return self.answer

    async def link(self, person: ChatPerson, code: str) -> Reply:
        self.links.append((person, code))
        if self.slow is not None:
            await self.slow.wait()
        return self.answer

    async def standing(
        self, person: ChatPerson, request_id: str, wanted: Action | None = None
    ) -> Standing | Reply:
        self.asked.append((person, wanted))
        return self.standing_is


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Stage:
    slack: Workspace
    notifier: SlackNotifier
    desk: Desk
    socket: bool

    async def told(self, *actions: Action, **subject: Any) -> Message:
        """A request that waits for bob, unless otherwise said."""
        wanted = actions or (Action.APPROVE, Action.DENY)
        asked = replace(delivery(address={"channel": CHANNEL}, **subject), actions=wanted)
        await self.notifier.deliver(asked)
        return self.slack.top()[0]

    async def send(self, payload: dict[str, Any]) -> dict[str, Any]:
        """As Slack sends it, by the way that is tried; what the app answers."""
        if self.socket:
            kind = "slash_commands" if "command" in payload else "interactive"
            return await self.slack.by_socket("events_api" if "event" in payload else kind, payload)
        body, headers = signed(payload)
        [endpoint] = self.notifier.endpoints
        incoming = Incoming(headers, body)
        await endpoint.prove(incoming)
        answer = await endpoint.answer(incoming, self.desk)
        assert answer.status == 200
        return json.loads(answer.body) if answer.body.startswith(b"{") else {"text": answer.body.decode()}

    async def dialog(
        self, message: Message, button: str = "Approve", user: str = "UBOB", **who: Any
    ) -> dict[str, Any]:
        """What opens after a click."""
        before = len(self.slack.dialogs)
        await self.send(self.slack.click(message, button, user, **who))
        await until(lambda: len(self.slack.dialogs) > before)
        return self.slack.dialogs[-1]


def asks(dialog: dict[str, Any]) -> str:
    """What stands above the field for a comment."""
    return "".join(part["text"] for part in dialog["blocks"][0]["elements"][0]["elements"])


@pytest.fixture(params=["http", "socket"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    is_socket = request.param == "socket"
    async with workspace() as slack:
        notifier = make(slack.settings(tmp_path, socket=is_socket))
        desk = Desk()
        listening = asyncio.create_task(notifier.listen(desk))
        if is_socket:
            await until(lambda: slack.sockets)
        yield Stage(slack, notifier, desk, is_socket)
        if desk.slow is not None:
            desk.slow.set()  # closing waits for what is being decided
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await notifier.close()


async def test_it_is_a_chat(stage: Stage) -> None:
    assert isinstance(stage.notifier, ChatNotifier)


async def test_a_click_asks_for_a_comment_and_the_dialog_decides(stage: Stage) -> None:
    dialog = await stage.dialog(await stage.told())
    assert stage.desk.clicks == []  # nothing is decided by the first click
    assert await stage.send(stage.slack.submit(dialog, "go\nahead", "UBOB")) in ({}, {"text": ""})
    [click] = stage.desk.clicks
    assert (click.action, click.request_id, click.comment, click.shown_level) == (
        Action.APPROVE,
        "oi-3cdf121b337b",
        "go\nahead",
        1,
    )
    assert (click.person.kind, click.person.key, click.person.is_outsider) == ("slack", "T0JITGATE/UBOB", False)


async def test_a_comment_may_be_left_out(stage: Stage) -> None:
    dialog = await stage.dialog(await stage.told(), "Deny")
    await stage.send(stage.slack.submit(dialog, "", "UBOB"))
    assert [(click.action, click.comment) for click in stage.desk.clicks] == [(Action.DENY, "")]


@pytest.mark.parametrize("answer", [REFUSED, SIGN_IN])
async def test_the_dialog_says_what_is_refused(stage: Stage, answer: Reply) -> None:
    dialog = await stage.dialog(await stage.told())
    stage.desk.answer = answer
    said = await stage.send(stage.slack.submit(dialog, "", "UBOB"))
    assert said["response_action"] == "update"
    check_view(said["view"])
    assert answer.message in str(said["view"])
    assert (answer.link in str(said["view"])) if answer.link else True


async def test_who_could_do_nothing_reads_why_at_once(stage: Stage) -> None:
    stage.desk.standing_is = REFUSED
    dialog = await stage.dialog(await stage.told(), user="UMALLORY")
    assert "submit" not in dialog
    assert REFUSED.message in str(dialog)
    asked = [(person.key, wanted) for person, wanted in stage.desk.asked]
    assert asked == [("T0JITGATE/UMALLORY", Action.APPROVE)]
    assert stage.desk.clicks == []  # nothing is decided without the dialog


@pytest.mark.parametrize(
    ("now", "stands"),
    [({"level": 2}, "waits at level 2 by now"), ({"level": 0, "status": "Approved"}, "is Approved by now")],
)
async def test_a_button_of_another_level_asks_nothing(stage: Stage, now: dict[str, Any], stands: str) -> None:
    stage.desk.standing_is = Standing(replace(SUBJECT, **now), AT, (Action.APPROVE, Action.DENY))
    dialog = await stage.dialog(await stage.told())
    check_view(dialog)
    assert "submit" not in dialog
    assert f"oi-3cdf121b337b {stands}" in str(dialog)


async def test_the_dialog_shows_the_level_that_it_decides_about(stage: Stage) -> None:
    dialog = await stage.dialog(await stage.told())
    assert "Level 1 of 2, 1 of 2 approvals" in asks(dialog)


async def test_an_approval_is_taken_back(stage: Stage) -> None:
    approved: dict[str, Any] = {"status": "Approved", "level": 0}
    stage.desk.standing_is = Standing(replace(SUBJECT, **approved), AT, (Action.REVOKE,))
    message = await stage.told(Action.REVOKE, **approved)
    assert list(message.buttons()) == ["Revoke my approval", "Open the request"]
    dialog = await stage.dialog(message, "Revoke my approval")
    assert dialog["submit"]["text"] == "Revoke my approval"
    assert asks(dialog).startswith("Revoke your approval?")
    assert stage.desk.clicks == []
    await stage.send(stage.slack.submit(dialog, "wrong node", "UBOB"))
    [click] = stage.desk.clicks
    assert (click.action, click.comment, click.shown_level) == (Action.REVOKE, "wrong node", 0)


@pytest.mark.parametrize("reason", [HOSTILE, EMOJI])
async def test_what_people_wrote_does_nothing_in_the_dialog(stage: Stage, reason: str) -> None:
    subject = replace(SUBJECT, reason=reason, requester_name=HOSTILE[:64], node_name=f"db\n{HOSTILE[:64]}")
    stage.desk.standing_is = Standing(subject, AT, (Action.APPROVE,))
    dialog = await stage.dialog(await stage.told())
    assert {block["type"] for block in dialog["blocks"]} == {"rich_text", "input"}
    assert "\u202e" not in asks(dialog)
    assert asks(dialog).count("\n") == 2  # ours
    assert (reason in asks(dialog)) is (reason == EMOJI)


async def test_people_of_other_workspaces_are_outsiders(stage: Stage) -> None:
    stage.desk.standing_is = REFUSED
    await stage.dialog(await stage.told(), user="UEVE", team="T0OTHER")
    [(person, _)] = stage.desk.asked
    assert (person.is_outsider, person.key) == (True, "T0OTHER/UEVE")


async def test_people_of_other_workspaces_are_outsiders_by_every_way(stage: Stage) -> None:
    """Slack names the app's workspace beside the person's own, as in a shared channel."""
    dialog = await stage.dialog(await stage.told())
    await stage.send(stage.slack.submit(dialog, "", "UEVE", team="T0OTHER"))
    await stage.send(stage.slack.command("link abcd-efgh-2345", "UEVE", team="T0OTHER"))
    await stage.send(stage.slack.write("link abcd-efgh-2345", "UEVE", team="T0OTHER"))
    shared = stage.slack.write("link abcd-efgh-2345", "UEVE")
    shared["event"]["user_team"] = "T0OTHER"
    await stage.send(shared)
    await until(lambda: len(stage.desk.links) == 3)
    people = [stage.desk.clicks[0].person, *(by for by, _ in stage.desk.links)]
    assert [(one.is_outsider, one.key) for one in people] == [(True, "T0OTHER/UEVE")] * 4


async def test_codes_are_taken_in_direct_messages_only(stage: Stage) -> None:
    said = stage.slack.write("link abcd-efgh-2345", "UBOB")
    said["event"]["channel_type"] = "channel"
    await stage.send(said)
    await stage.send(stage.slack.write("link zzzz-efgh-2345", "UBOB"))
    await until(stage.slack.top)
    assert [code for _, code in stage.desk.links] == ["zzzz-efgh-2345"]


@pytest.mark.parametrize("subtype", ["message_changed", "me_message"])
async def test_what_is_no_plain_message_links_nobody(stage: Stage, subtype: str) -> None:
    """Of an edited message Slack tells the new words inside, and nobody who wrote the event."""
    said = stage.slack.write("link abcd-efgh-2345", "UBOB")
    event = said["event"]
    event["subtype"] = subtype
    if subtype == "message_changed":
        inside = {name: event.pop(name) for name in ("user", "team", "text")}
        event["message"] = {**inside, "type": "message", "ts": "1.1", "edited": {"user": "UBOB", "ts": "1.2"}}
    await stage.send(said)
    await stage.send(stage.slack.write("link zzzz-efgh-2345", "UBOB"))
    await until(stage.slack.top)
    assert [code for _, code in stage.desk.links] == ["zzzz-efgh-2345"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers long before Slack gives up: between the two, a busy machine must find its time."""
    assert handling._ANSWERING_SECONDS <= ACKNOWLEDGE_SECONDS - 1
    monkeypatch.setattr(handling, "_ANSWERING_SECONDS", 0.2)


@pytest.mark.usefixtures("hurried")
async def test_slow_linking_is_acknowledged_in_time_and_told_later(stage: Stage) -> None:
    stage.desk.slow, stage.desk.answer = asyncio.Event(), Reply(Verdict.DONE, "You are bob here <now>.")
    said = await stage.send(stage.slack.command("link abcd-efgh-2345", "UBOB"))
    assert "longer than usual" in said["text"]
    assert not stage.slack.top()
    stage.desk.slow.set()
    await until(stage.slack.top)
    [message] = stage.slack.top()
    assert (message.channel, message.content["text"]) == ("D-UBOB", "You are bob here &lt;now&gt;.")


@pytest.mark.usefixtures("hurried")
async def test_a_slow_decision_is_acknowledged_in_time_and_told_later(stage: Stage) -> None:
    dialog = await stage.dialog(await stage.told())
    stage.desk.slow, stage.desk.answer = asyncio.Event(), REFUSED
    said = await stage.send(stage.slack.submit(dialog, "", "UBOB"))
    assert said["response_action"] == "update"
    stage.desk.slow.set()
    await until(lambda: stage.slack.whispers)
    channel, user, text = stage.slack.whispers[0]
    assert (channel, user) == (CHANNEL, "UBOB")
    assert "&lt;!here&gt;" in text


async def test_linking_by_command(stage: Stage) -> None:
    stage.desk.answer = Reply(Verdict.DONE, "You are bob here from now on.")
    said = await stage.send(stage.slack.command("link abcd-efgh-2345", "UBOB"))
    assert said["text"] == "You are bob here from now on."
    [(person, code)] = stage.desk.links
    assert (person.key, dict(person.address), code) == (
        "T0JITGATE/UBOB",
        {"workspace": "T0JITGATE", "user": "UBOB"},
        "abcd-efgh-2345",
    )


async def test_linking_by_a_direct_message(stage: Stage) -> None:
    await stage.send(stage.slack.write("Link ABCD EFGH 2345", "UBOB"))
    await until(stage.slack.top)
    assert [code for _, code in stage.desk.links] == ["ABCD EFGH 2345"]
    assert stage.slack.top()[0].channel == "D-UBOB"


@pytest.mark.parametrize(
    "text", ["", "help", "link", "approve oi-3cdf121b337b", "link " + "x" * 200, "link <!here>"]
)
async def test_other_words_link_nobody(stage: Stage, text: str) -> None:
    said = await stage.send(stage.slack.command(text, "UBOB"))
    assert "jit link slack" in said["text"]
    assert stage.desk.links == []


@pytest.mark.parametrize("value", ["", "{}", "[]", '{"request": 7, "level": 1, "channel": ""}', "x" * 2000])
async def test_buttons_that_we_did_not_make(stage: Stage, value: str) -> None:
    payload = stage.slack.click(await stage.told(), "Approve", "UBOB")
    payload["actions"][0]["value"] = value
    await stage.send(payload)
    await stage.send(stage.slack.write("hello", "UBOB"))  # it goes on
    assert stage.desk.clicks == []


async def test_a_connection_that_breaks_is_made_anew(stage: Stage) -> None:
    if not stage.socket:
        return
    await stage.slack.sockets[0].close()
    await until(lambda: stage.slack.connections > 1 and stage.slack.sockets)
    await stage.dialog(await stage.told())


# By HTTP alone: is it Slack at all?


@pytest.fixture
async def slack(tmp_path: Path) -> AsyncIterator[tuple[Workspace, SlackNotifier]]:
    async with workspace() as made:
        notifier = make(made.settings(tmp_path))
        yield made, notifier
        await notifier.close()


async def test_slack_asks_whether_the_address_is_ours(slack: tuple[Workspace, SlackNotifier]) -> None:
    """When somebody enters it in the app's settings; it takes no address that does not repeat the word."""
    body, headers = signed({"type": "url_verification", "token": "old", "challenge": "3eZbrw1aBm2rZgRNFdxV"})
    [endpoint] = slack[1].endpoints
    await endpoint.prove(Incoming(headers, body))
    answer = await endpoint.answer(Incoming(headers, body), Desk())
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {"challenge": "3eZbrw1aBm2rZgRNFdxV"}


@pytest.mark.parametrize("how", [{"secret": "another"}, {"at": time.time() - 301}, {"at": time.time() + 3600}])
async def test_forged_and_stale_signatures(slack: tuple[Workspace, SlackNotifier], how: dict[str, Any]) -> None:
    workspace_, notifier = slack
    body, headers = signed(workspace_.command("link x", "UBOB"), **how)
    [endpoint] = notifier.endpoints
    with pytest.raises(NotFromThere):
        await endpoint.prove(Incoming(headers, body))


async def test_what_was_changed_is_not_slacks(slack: tuple[Workspace, SlackNotifier]) -> None:
    workspace_, notifier = slack
    body, headers = signed(workspace_.command("link abcd-efgh-2345", "UBOB"))
    [endpoint] = notifier.endpoints
    for changed in (body + b"&x=y", body.replace(b"UBOB", b"UEVE"), b"\xff", b""):
        with pytest.raises(NotFromThere):
            await endpoint.prove(Incoming(headers, changed))
    proof = await endpoint.prove(Incoming(headers, body))
    assert proof.once == headers["x-slack-signature"]  # taken once, by all gateways
    assert proof.until.timestamp() == int(headers["x-slack-request-timestamp"]) + 600  # counts for half of that


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-slack-signature": "v0=00"},
        {"x-slack-request-timestamp": "now", "x-slack-signature": "v0=00"},
        {"x-slack-request-timestamp": "9" * 400, "x-slack-signature": "v0=00"},
        {"x-slack-request-timestamp": str(int(time.time())), "x-slack-signature": "v0=é"},
    ],
)
async def test_no_signature(slack: tuple[Workspace, SlackNotifier], headers: dict[str, str]) -> None:
    [endpoint] = slack[1].endpoints
    with pytest.raises(NotFromThere):
        await endpoint.prove(Incoming(headers, b"payload={}"))

"""Notices and dialogs in Slack's Block Kit.

What people wrote stands in rich text and plain text only, which know no markup and mention nobody: nothing has to
be escaped there, and nothing is halved by cutting. The one line that Slack reads as markup, for notifications, is
cut first and then escaped: Slack's own limit of it is far away.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from notifiers.chat import Reply, Standing
from notifiers.model import Action, Delivery, Subject
from notifiers.text import cut, shown
from notifiers.wording import Fact, Said

METADATA_TYPE: Final = "jitgate_notice"
OPEN: Final = "open"
DIALOG: Final = "decide"
COMMENT: Final = "comment"
COMMENT_LIMIT: Final = 256  # of a decision's comment, as everywhere
_TITLE_LIMIT = 150  # of a header
_LINE_LIMIT = 1500
_DIALOG_TITLE_LIMIT = 24
_NOTIFICATION_LIMIT = 300
_BLOCKS_LIMIT = 12_000
"""Of all blocks of a message, in characters of JSON. Slack's own is published nowhere; it lies near 13,200."""
_MORE = Fact("more", "And more", "see the request itself")
_BUTTONS = {
    Action.APPROVE: ("Approve", "primary"),
    Action.DENY: ("Deny", "danger"),
    Action.REVOKE: ("Revoke my approval", "danger"),
}
_QUESTIONS = {
    Action.APPROVE: "Approve access?",
    Action.DENY: "Deny access?",
    Action.REVOKE: "Revoke your approval?",
}

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Meant:
    """What a button or a dialog is about; travels through Slack and comes back."""

    request_id: str
    level: int
    channel: str = ""  # where the button was; of a button itself: empty

    def to_text(self) -> str:
        return json.dumps({"request": self.request_id, "level": self.level, "channel": self.channel})

    @classmethod
    def of(cls, text: str) -> "Meant":
        """Raises ValueError for what we did not write."""
        try:
            value = json.loads(text)
            request, level, channel = value["request"], value["level"], value["channel"]
        except (ValueError, KeyError, TypeError):
            raise ValueError("this is no button of ours") from None
        if not isinstance(request, str) or type(level) is not int or not isinstance(channel, str):
            raise ValueError("this is no button of ours")
        return cls(request, level, channel)


def message(delivery: Delivery, said: Said) -> dict[str, Any]:
    """Arguments of chat.postMessage and chat.update. What does not fit is left out, and that is said."""
    facts = said.facts
    blocks = _blocks(delivery, said, facts)
    while _size(blocks) > _BLOCKS_LIMIT and len(facts) > 2:
        # The request's id stands last and stays.
        facts = (*facts[: -3 if _MORE in facts else -2], _MORE, facts[-1])
        blocks = _blocks(delivery, said, facts)
    payload = {"delivery": delivery.id, "request": delivery.notice.subject.request_id}
    return {
        "text": notification(said.title),
        "blocks": blocks,
        "metadata": {"event_type": METADATA_TYPE, "event_payload": payload},
    }


def reply(delivery: Delivery, said: Said) -> dict[str, Any]:
    """What stands in the thread when something happened later, in short."""
    payload = {"delivery": delivery.id, "request": delivery.notice.subject.request_id}
    return {
        "text": notification(said.title),
        "blocks": [_rich([_text(said.title, bold=True), _text(f"\n{said.text}" if said.text else "")])],
        "metadata": {"event_type": METADATA_TYPE, "event_payload": payload},
    }


def notification(title: str) -> str:
    """The one text that Slack reads as markup."""
    return _escaped(cut(title, _NOTIFICATION_LIMIT))


def question(action: Action, standing: Standing, channel: str) -> dict[str, Any]:
    """The dialog that asks for a comment before anything is decided."""
    subject = standing.subject
    return {
        "type": "modal",
        "callback_id": f"{DIALOG}:{action.value}",
        "private_metadata": Meant(subject.request_id, subject.level, channel).to_text(),
        "title": _plain("Access request"),
        "submit": _plain(_BUTTONS[action][0][:_DIALOG_TITLE_LIMIT]),
        "close": _plain("Back"),
        "blocks": [
            _rich([_text(_QUESTIONS[action], bold=True), _text(f"\n{_summary(subject)}")]),
            {
                "type": "input",
                "block_id": COMMENT,
                "optional": True,
                "label": _plain("Comment"),
                "element": {
                    "type": "plain_text_input",
                    "action_id": COMMENT,
                    "multiline": True,
                    "max_length": COMMENT_LIMIT,
                },
            },
        ],
    }


def answer(reply: Reply) -> dict[str, Any]:
    """A dialog that says what became of it."""
    blocks: list[Block] = [_rich([_text(reply.message, bold=True), _text(f"\n{reply.what_to_do}")])]
    if reply.link:
        button = {"type": "button", "action_id": OPEN, "text": _plain("Sign in and decide"), "url": reply.link}
        blocks.append({"type": "actions", "elements": [button]})
    return {"type": "modal", "title": _plain("Access request"), "close": _plain("Close"), "blocks": blocks}


def in_words(reply: Reply) -> str:
    """The same as a line of text, as Slack reads it."""
    return _escaped(" ".join(part for part in (reply.message, reply.what_to_do, reply.link) if part))


def _blocks(delivery: Delivery, said: Said, facts: Sequence[Fact]) -> list[Block]:
    made: list[Block] = [
        {"type": "header", "text": _plain(cut(said.title, _TITLE_LIMIT))},
        *([_rich([_text(said.text)])] if said.text else []),
        _rich([part for place, fact in enumerate(facts) for part in _fact(fact, is_first=place == 0)]),
    ]
    if buttons := _buttons(delivery):
        made.append({"type": "actions", "block_id": "decide", "elements": buttons})
    return made


def _size(blocks: Sequence[Block]) -> int:
    """In the widest of the ways in which Slack may count: an emoji is two characters there."""
    return len(json.dumps(blocks, ensure_ascii=False).encode("utf-16-le", "replace")) // 2


def _summary(subject: Subject) -> str:
    who = shown(subject.requester_name or subject.requester)
    what = cut(f"{who} on {shown(subject.node_name or subject.node_id)}: {shown(subject.reason)}", _LINE_LIMIT)
    if not 0 < subject.level <= len(subject.levels):
        return what
    waited = subject.levels[subject.level - 1]
    return f"{what}\nLevel {subject.level} of {len(subject.levels)}, {waited.given} of {waited.needed} approvals"


def _buttons(delivery: Delivery) -> list[Block]:
    notice, wanted = delivery.notice, delivery.actions
    made: list[Block] = []
    if notice.subject.step_up and Action.APPROVE in wanted:
        # Nothing is decided here: the button leads to the page, which asks for a fresh sign-in.
        if notice.link:
            made.append(_link("Sign in and decide", notice.link, style="primary"))
        return made
    meant = Meant(notice.subject.request_id, notice.subject.level).to_text()
    for action, (title, style) in _BUTTONS.items():
        if action in wanted:
            button = {"type": "button", "action_id": action.value, "text": _plain(title), "style": style}
            made.append({**button, "value": meant})
    if notice.link:
        made.append(_link("Open the request", notice.link))
    return made


def _link(title: str, url: str, **look: str) -> Block:
    return {"type": "button", "action_id": OPEN, "text": _plain(title), "url": url, **look}


def _fact(fact: Fact, *, is_first: bool) -> Sequence[Block]:
    label = f"{fact.label}: "
    return _text(label if is_first else f"\n{label}", bold=True), _text(cut(fact.value, _LINE_LIMIT))


def _rich(elements: Sequence[Mapping[str, Any]]) -> Block:
    section = {"type": "rich_text_section", "elements": [one for one in elements if one["text"]]}
    return {"type": "rich_text", "elements": [section]}


def _text(text: str, *, bold: bool = False) -> Block:
    return {"type": "text", "text": text, "style": {"bold": True}} if bold else {"type": "text", "text": text}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

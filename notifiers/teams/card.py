"""A notice as an Adaptive Card (1.4), for everybody in a channel or for one viewer.

What people wrote stands in text runs only: unlike text blocks and facts they know no Markdown, so nothing has to
be escaped for it and nothing is halved by cutting. Only the functions for dates are read in them as well.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from notifiers.model import Action, Delivery, Notice, Relation
from notifiers.text import cut
from notifiers.wording import Fact, Said

CONTENT_TYPE: Final = "application/vnd.microsoft.card.adaptive"
COMMENT: Final = "comment"
"""The input's id: what was typed comes back under it."""
REFRESH: Final = "refresh"
"""The verb by which a viewer's client asks for the viewer's own card."""
SHOW: Final = "show"
"""The same, when the viewer wants it. All other verbs are `Action`'s values."""
LIMIT_BYTES: Final = 28 << 10
_LIVE = frozenset({"Pending", "Approved"})
_FACT_LIMIT = 1500
_COMMENT_LIMIT = 256  # of a decision's comment, as everywhere
_MORE = Fact("more", "And more", "see the request itself")


def card(delivery: Delivery, said: Said, outcome: str = "") -> dict[str, Any]:
    """At most LIMIT_BYTES of JSON. `outcome`: what became of the viewer's own click."""
    facts = list(said.facts)
    made = _card(delivery, said, facts, outcome)
    while size(made) > LIMIT_BYTES and len(facts) > 2:
        # The request's id stands last and stays.
        facts = [*facts[:-3], _MORE, facts[-1]] if _MORE in facts else [*facts[:-2], _MORE, facts[-1]]
        made = _card(delivery, said, facts, outcome)
    return made


def reply(said: Said, link: str) -> dict[str, Any]:
    """What stands under the first card when something happened later, in short."""
    actions = [_link("Open the request", link)] if link else []
    return _enclosing([_line(said.title, weight="Bolder"), _line(said.text)], actions)


def activity(content: Mapping[str, Any], summary: str) -> dict[str, Any]:
    """The message that brings a card. `summary` is what notifications of the operating system show."""
    return {
        "type": "message",
        "summary": summary,
        "attachments": [{"contentType": CONTENT_TYPE, "content": content}],
    }


def size(content: Mapping[str, Any]) -> int:
    """In the wider of the forms in which Teams may count it."""
    text = json.dumps(content, ensure_ascii=False)
    return max(len(text.encode("utf-8", "replace")), len(text.encode("utf-16-le", "replace")))


def _card(delivery: Delivery, said: Said, facts: Sequence[Fact], outcome: str) -> dict[str, Any]:
    notice, subject = delivery.notice, delivery.notice.subject
    body = [_line(said.title, size="Medium", weight="Bolder")]
    if outcome:
        body.append(_line(outcome, color="Accent", weight="Bolder"))
    if said.text:
        body.append(_line(said.text))
    body += [_fact(fact, is_first=place == 0) for place, fact in enumerate(facts)]
    actions = list(_actions(delivery)) if notice.link else []
    if any(action.get("verb") in set(Action) for action in actions):
        body.append(
            {
                "type": "Input.Text",
                "id": COMMENT,
                "label": "Comment (optional)",
                "maxLength": _COMMENT_LIMIT,
                "spacing": "Medium",
            }
        )
    if notice.link:
        actions.append(_link("Open the request", notice.link))
    made = _enclosing(body, actions)
    if notice.link and subject.status in _LIVE:
        made["refresh"] = {"action": _execute("Refresh", REFRESH, notice), **_viewers(delivery)}
    return made


def _actions(delivery: Delivery) -> Iterator[dict[str, Any]]:
    notice, wanted = delivery.notice, delivery.actions
    if not wanted:
        return
    if delivery.recipient.relation is Relation.WATCHER:
        # Many read it, and few may decide: each asks for a card of their own. Small channels do so by themselves.
        yield _execute("Show what I can do", SHOW, notice)
    elif notice.subject.step_up and Action.APPROVE in wanted:
        yield _link("Sign in and decide", notice.link)
    else:
        for action, title, style in (
            (Action.APPROVE, "Approve", "positive"),
            (Action.DENY, "Deny", "destructive"),
            (Action.REVOKE, "Revoke my approval", "destructive"),
        ):
            if action in wanted:
                yield {**_execute(title, action.value, notice), "style": style}


def _execute(title: str, verb: str, notice: Notice) -> dict[str, Any]:
    """The level is what was shown: a decision about another one is refused."""
    data = {"request": notice.subject.request_id, "level": notice.subject.level}
    return {"type": "Action.Execute", "title": title, "verb": verb, "data": data}


def _link(title: str, link: str) -> dict[str, Any]:
    return {"type": "Action.OpenUrl", "title": title, "url": link}


def _viewers(delivery: Delivery) -> dict[str, Any]:
    """Whose clients ask by themselves. Without a list, all of a chat or channel with at most 60 members do."""
    address = delivery.recipient.address
    # Where no conversation is known, the user is that of the directory, whom the list would not mean.
    return {"userIds": [address["user"]]} if address.get("user") and address.get("conversation") else {}


def _fact(fact: Fact, *, is_first: bool) -> dict[str, Any]:
    label = {"type": "TextRun", "text": f"{fact.label}: ", "isSubtle": True}
    value = {"type": "TextRun", "text": _inert(cut(fact.value, _FACT_LIMIT))}
    return {
        "type": "RichTextBlock",
        "spacing": "Medium" if is_first else "Small",
        "inlines": [label, value],
    }


def _line(text: str, **look: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": _inert(text), **look}]}


def _inert(text: str) -> str:
    """`{{DATE(…)}}` would become a date, which is not what was written."""
    return re.sub(r"\{(?=\{)", "{ ", text)


def _enclosing(body: Sequence[Mapping[str, Any]], actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": "This client is too old to show what the access gateway tells.",
        "body": list(body),
        "actions": list(actions),
        "msteams": {"width": "Full"},
    }

"""What reached whom, against what happened."""

import sqlite3
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

from tests.crash.notices.receivers import TEAM, Receivers
from tests.notifiers.slack.workspace import Message


@dataclass
class Channel:
    """`repeated`: arrived again, where the service allows no more: by mail and webhook under the same id, by which
    a receiver tells; in Teams, which has no key against it, as a second message."""

    name: str
    expected: int = 0
    lost: int = 0
    doubled: int = 0
    """Told twice under two ids, or shown twice in Slack, where a message is looked up before it is sent again."""
    repeated: int = 0


def count(
    to: Receivers, database: sqlite3.Connection, made: list[str], denied: list[str], addresses: Collection[str]
) -> list[Channel]:
    """`made`: the requests' ids, `denied`: of those that were. `addresses`: where each is mailed to, besides their
    team's."""
    return [
        _mails(to, made, addresses),
        _hooks(to, database, made),
        _slack(to, made),
        _replies(to, denied),
        _teams(to, made),
    ]


def _mails(to: Receivers, made: list[str], addresses: Collection[str]) -> Channel:
    """Each request is told to every approver and their team."""
    ids: dict[tuple[str, str, str], set[str]] = {}
    arrived: Counter[str] = Counter()
    for raw in to.mailed:
        mail: Any = message_from_bytes(raw, policy=policy.default)
        told = (str(mail["X-Jitgate-Request"]), str(mail["X-Jitgate-Notice"]), str(mail["To"]))
        ids.setdefault(told, set()).add(str(mail["Message-ID"]))
        arrived[str(mail["Message-ID"])] += 1
    expected = {(each, "approval_needed", address) for each in made for address in (*addresses, TEAM)}
    return Channel(
        "mail",
        len(expected),
        lost=len(expected - ids.keys()),
        doubled=sum(len(found) - 1 for found in ids.values()),
        repeated=sum(count - 1 for count in arrived.values()),
    )


def _hooks(to: Receivers, database: sqlite3.Connection, made: list[str]) -> Channel:
    """Each event of each request."""
    query, wanted = "SELECT type, subject FROM events WHERE type LIKE 'access_request.%'", set(made)
    happened = Counter((kind, subject) for kind, subject in database.execute(query) if subject in wanted)
    ids: dict[tuple[str, str], set[str]] = {}
    arrived: Counter[str] = Counter()
    for event in to.hooked:
        kind, subject = str(event["type"]), str(event["subject"])
        found = next((each for each in happened if each[1] == subject and kind.endswith(each[0])), None)
        if found is not None:
            ids.setdefault(found, set()).add(str(event["id"]))
            arrived[str(event["id"])] += 1
    told = {each: len(found) for each, found in ids.items()}
    return Channel(
        "webhook",
        happened.total(),
        lost=sum(max(0, count - told.get(each, 0)) for each, count in happened.items()),
        doubled=sum(max(0, count - happened[each]) for each, count in told.items()),
        repeated=sum(count - 1 for count in arrived.values()),
    )


def _slack(to: Receivers, made: list[str]) -> Channel:
    """Each request is a message in the channel; people would see each further one."""
    shown = Counter(slack_request_of(message) for message in to.slack.top())
    return Channel(
        "slack",
        len(made),
        lost=sum(not shown[each] for each in made),
        doubled=sum(max(0, shown[each] - 1) for each in made),
    )


def _replies(to: Receivers, denied: list[str]) -> Channel:
    """Of each that was denied the message in the channel says so, and its thread does once."""
    changed = {slack_request_of(one) for one in to.slack.top() if one.content["text"].startswith("Denied:")}
    said = Counter(slack_request_of(one) for one in to.slacked.values() if one.thread)
    return Channel(
        "replies",
        len(denied),
        lost=sum(each not in changed or not said[each] for each in denied),
        doubled=sum(max(0, said[each] - 1) for each in denied),
    )


def slack_request_of(message: Message) -> str:
    return str(message.content["metadata"]["event_payload"]["request"])


def _teams(to: Receivers, made: list[str]) -> Channel:
    """Each request is a card in the channel. One that was sent just before the kill is sent again."""
    shown = Counter(_request_of(message) for message in to.teamed.values() if "replyToId" not in message)
    return Channel(
        "teams",
        len(made),
        lost=sum(not shown[each] for each in made),
        repeated=sum(max(0, shown[each] - 1) for each in made),
    )


def _request_of(activity: dict[str, Any]) -> str:
    [card] = (attachment["content"] for attachment in activity["attachments"])
    return str(card["actions"][-1]["url"]).rpartition("/")[2]

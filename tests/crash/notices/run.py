"""Requests while their gateway is killed again and again; then what reached whom, against what happened."""

import contextlib
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import grpc

from tests.crash.notices.receivers import TEAM, Receivers, receivers
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for

PEOPLE = {"bob": "bob@example.org", "carol": "carol@example.org"}
LONGEST_TO_DRAIN = 1800.0
LONGEST_TO_START = 180.0
"""On a machine that has other things to do."""


@dataclass
class Channel:
    """`repeated`: arrived again under the same id, by which a receiver tells. SMTP and HTTP allow no more."""

    name: str
    expected: int = 0
    lost: int = 0
    doubled: int = 0
    """Told twice under two ids, or shown twice in Slack: nobody could know that it is the same."""
    repeated: int = 0


@dataclass
class Outcome:
    requests: int
    kills: int = 0
    seconds: float = 0.0
    given_up: int = 0
    channels: list[Channel] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not self.given_up and not any(each.lost or each.doubled for each in self.channels)


@dataclass
class Latency:
    """Seconds from what happened until it had arrived, by channel: longer than until the first attempt."""

    mail: list[float]
    hook: list[float]


@dataclass
class Scene:
    on: Stage
    to: Receivers

    def waiting(self) -> int:
        """Events and deliveries that are still to be told."""
        with self.on.database() as database:
            (events,) = database.execute("SELECT count(*) FROM outbox").fetchone()
            (deliveries,) = database.execute("SELECT count(*) FROM deliveries WHERE NOT is_dead").fetchone()
            return int(events + deliveries)


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with receivers(folder) as to:
        gateway = GatewayProcess(folder / "gateway", to.configuration, start_seconds=LONGEST_TO_START)
        gateway.start()
        try:
            with stage(gateway, folder) as on:
                for user_id, address in PEOPLE.items():
                    on.administrator.call(
                        "NoticeService/PutContact", user_id=user_id, kind="email", address=address
                    )
                yield Scene(on, to)
        finally:
            gateway.stop()


def latency(at: Scene, requests: int) -> Latency:
    """One request after the other, each when the one before has been told to everybody."""
    found = Latency([], [])
    for number in range(requests):
        mails, hooks = len(at.to.mailed), len(at.to.hooked)
        request = at.on.alice.request("db-1", f"quiet {number}")["id"]
        wait_for(lambda: at.waiting() == 0 and len(at.to.hooked) > hooks, 300, "the notices")  # noqa: B023
        with at.on.database() as database:
            opened = "SELECT at FROM events WHERE subject = ? AND type = 'access_request.opened'"
            (happened,) = database.execute(opened, (request,)).fetchone()
        found.mail += [arrived - happened / 1e6 for arrived in at.to.mailed.at[mails:]]
        for event, arrived in zip(at.to.hooked[hooks:], at.to.hooked.at[hooks:], strict=True):
            found.hook.append(arrived - datetime.fromisoformat(str(event["time"])).timestamp())
    return found


def run(at: Scene, requests: int, every: float = 1.0, most_kills: float = math.inf) -> Outcome:
    """`every`: seconds that a gateway serves before it is killed."""
    outcome, started = Outcome(requests), time.monotonic()
    over, failures = threading.Event(), list[BaseException]()

    def kill() -> None:
        try:
            while outcome.kills < most_kills and not over.wait(every):
                at.on.gateway.kill()
                outcome.kills += 1
                at.on.gateway.start()
        except BaseException as failure:
            failures.append(failure)
            raise

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        made = [_ask(at, f"request {number}") for number in range(requests)]
        wait_for(lambda: failures or at.waiting() == 0, LONGEST_TO_DRAIN, "what waits to be told")
    finally:
        over.set()
        killer.join(LONGEST_TO_START)
    assert not failures, failures
    wait_for(lambda: at.waiting() == 0, LONGEST_TO_DRAIN, "what waits to be told")
    outcome.seconds = time.monotonic() - started
    with at.on.database() as database:
        (outcome.given_up,) = database.execute("SELECT count(*) FROM deliveries WHERE is_dead").fetchone()
    outcome.channels = [_mails(at, made), _hooks(at, made), _messages(at, made)]
    return outcome


def _ask(at: Scene, reason: str) -> str:
    """The request's id; asked again, as the same, for as long as no gateway answers."""
    key = secrets.token_urlsafe(18)
    return wait_for(lambda: _try(at, reason, key), 300, "an answer")


def _try(at: Scene, reason: str, key: str) -> str | None:
    try:
        return str(at.on.alice.request("db-1", reason, idempotency_key=key)["id"])
    except grpc.RpcError as error:
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return None
        raise


def _mails(at: Scene, made: list[str]) -> Channel:
    """Each request is told to bob, carol and their team."""
    ids: dict[tuple[str, str, str], set[str]] = {}
    arrived: Counter[str] = Counter()
    for raw in at.to.mailed:
        mail: Any = message_from_bytes(raw, policy=policy.default)
        told = (str(mail["X-Jitgate-Request"]), str(mail["X-Jitgate-Notice"]), str(mail["To"]))
        ids.setdefault(told, set()).add(str(mail["Message-ID"]))
        arrived[str(mail["Message-ID"])] += 1
    expected = {(each, "approval_needed", to) for each in made for to in (*PEOPLE.values(), TEAM)}
    return Channel(
        "mail",
        len(expected),
        lost=len(expected - ids.keys()),
        doubled=sum(len(found) - 1 for found in ids.values()),
        repeated=sum(count - 1 for count in arrived.values()),
    )


def _hooks(at: Scene, made: list[str]) -> Channel:
    """Each event of each request."""
    with at.on.database() as database:
        query = "SELECT type, subject FROM events WHERE type LIKE 'access_request.%'"
        happened = Counter((kind, subject) for kind, subject in database.execute(query) if subject in set(made))
    ids: dict[tuple[str, str], set[str]] = {}
    arrived: Counter[str] = Counter()
    for event in at.to.hooked:
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


def _messages(at: Scene, made: list[str]) -> Channel:
    """Each request is a message in the channel; people would see each further one."""
    shown = Counter(str(message.content["metadata"]["event_payload"]["request"]) for message in at.to.slack.top())
    return Channel(
        "slack",
        len(made),
        lost=sum(not shown[each] for each in made),
        doubled=sum(max(0, shown[each] - 1) for each in made),
    )

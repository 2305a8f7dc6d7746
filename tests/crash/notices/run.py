"""Requests while their gateway is killed again and again."""

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc

from tests.crash.notices.counting import Channel, count, slack_request_of
from tests.crash.notices.receivers import Receivers, Stamped, StampedMessages, receivers
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for

PEOPLE = {"bob": "bob@example.org", "carol": "carol@example.org"}
LATE = 10
ASKING_AT_ONCE = 8
LONGEST_TO_DRAIN = 7200.0
LONGEST_TO_START = 180.0
"""On a machine that has other things to do."""
_UNANSWERED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


@dataclass
class Outcome:
    requests: int
    waiting: int = 0
    """Events and deliveries that were still to be told at the first kill."""
    kills: int = 0
    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)
    """Seconds from what happened until a webhook told it, gateways that were away included."""
    given_up: int = 0
    channels: list[Channel] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not self.given_up and not any(each.lost or each.doubled for each in self.channels)


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


def latency(at: Scene, requests: int) -> dict[str, list[float]]:
    """One request after the other, each when the one before has been told to everybody. Channel -> seconds from
    what happened until the first attempt: until the mail server was called, until it had arrived elsewhere."""
    hooked = at.to.hooked
    others: dict[str, Stamped[str] | StampedMessages[Any, Any]] = {
        "mail": at.to.called,
        "slack": at.to.slacked,
        "teams": at.to.teamed,
    }
    found: dict[str, list[float]] = {"webhook": [], **{name: [] for name in others}}
    for number in range(requests):
        hooks, before = len(hooked), {name: len(told.at) for name, told in others.items()}
        request = at.on.alice.request("db-1", f"quiet {number}")["id"]
        wait_for(lambda: at.waiting() == 0 and len(hooked) > hooks, 300, "the notices")  # noqa: B023
        with at.on.database() as database:
            opened = "SELECT at FROM events WHERE subject = ? AND type = 'access_request.opened'"
            (happened,) = database.execute(opened, (request,)).fetchone()
        for name, told in others.items():
            found[name] += [arrived - happened / 1e6 for arrived in told.at[before[name] :]]
        found["webhook"] += _delays(hooked, hooks)
    return found


def _delays(hooked: Stamped[dict[str, object]], since: int) -> list[float]:
    """Seconds from what happened until it had arrived first, of what came after so many."""
    first: dict[str, float] = {}
    for event, arrived in zip(hooked[since:], hooked.at[since:], strict=True):
        happened = datetime.fromisoformat(str(event["time"])).timestamp()
        first.setdefault(str(event["id"]), arrived - happened)
    return list(first.values())


def run(at: Scene, requests: int, every: float = 1.0, most_kills: float = math.inf) -> Outcome:
    """`every`: seconds that a gateway serves before it is killed.

    Most requests are made at once, before the first kill: else a gateway that is away most of the time would never
    have much to tell. The last ones are made while it is killed, so that what they commit meets a kill as well.
    Meanwhile as many of the first ones, once they were told, are denied, so that messages change.
    """
    outcome = Outcome(requests)
    late, hooks = min(LATE, requests // 2), len(at.to.hooked)
    with ThreadPoolExecutor(ASKING_AT_ONCE) as asking:
        made = list(asking.map(lambda number: _ask(at, f"request {number}"), range(requests - late)))
    outcome.waiting, started = at.waiting(), time.monotonic()
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
        denied = made[:late]
        for number, told in enumerate(denied, requests - late):
            made.append(_ask(at, f"request {number}"))
            _deny(at, told)
        wait_for(lambda: failures or at.waiting() == 0, LONGEST_TO_DRAIN, "what waits to be told")
    finally:
        over.set()
        killer.join(LONGEST_TO_START)
    assert not failures, failures
    wait_for(lambda: at.waiting() == 0, LONGEST_TO_DRAIN, "what waits to be told")
    outcome.seconds = time.monotonic() - started
    outcome.delays = _delays(at.to.hooked, hooks)
    with at.on.database() as database:
        (outcome.given_up,) = database.execute("SELECT count(*) FROM deliveries WHERE is_dead").fetchone()
        outcome.channels = count(at.to, database, made, denied, PEOPLE.values())
    return outcome


def _ask(at: Scene, reason: str) -> str:
    """The request's id; asked again, as the same, for as long as no gateway answers."""
    key = secrets.token_urlsafe(18)
    return wait_for(lambda: _try(at, reason, key), 300, "an answer")


def _deny(at: Scene, request_id: str) -> None:
    """Once everybody was told of it: of two notices that wait only the later one would be told."""

    def is_told() -> bool:
        with at.on.database() as database:
            query = "SELECT count(*) FROM deliveries WHERE subject = ?"
            (waiting,) = database.execute(query, (request_id,)).fetchone()
        return not waiting and request_id in map(slack_request_of, list(at.to.slacked.values()))

    def is_denied() -> bool:
        try:
            at.on.bob.call("ApprovalService/Deny", access_request_id=request_id)
        except grpc.RpcError as error:
            if error.code() not in _UNANSWERED:
                return at.on.bob.status(request_id) == "REJECTED"  # by an earlier try that nobody answered
            return False
        return True

    wait_for(is_told, LONGEST_TO_DRAIN, "those who are told")
    wait_for(is_denied, 300, "an answer")


def _try(at: Scene, reason: str, key: str) -> str | None:
    try:
        return str(at.on.alice.request("db-1", reason, idempotency_key=key)["id"])
    except grpc.RpcError as error:
        if error.code() in _UNANSWERED:
            return None
        raise

"""How the keys of recordings are: each call is counted, and each turn for the worse or the better is an event."""

import structlog
from opentelemetry import metrics

from gateway.identity.ports import Clock
from gateway.store.database import Database
from gateway.store.events import Event, append
from recorder.errors import KeyFailed, KeyProblem

_log = structlog.get_logger("jitgate.recordings")
_counter = metrics.get_meter("jitgate.recordings").create_counter(
    "jitgate.recording_keys", description="Calls of keys that wrap data keys, by operation, account and outcome"
)
_OK = "ok"


class KeysTold:
    """What this process knows of each key by what it is used for, its account (empty: the gateway's own) and ARN.

    Told are the turns, not each failure: an outage of KMS with a thousand sessions is one event. Wrapping and
    unwrapping may be done by two roles, one of which is refused.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._problems: dict[tuple[str, str, str], KeyProblem] = {}

    async def works(self, operation: str, account: str, key: str) -> None:
        _count(operation, account, _OK)
        if self._problems.pop((operation, account, key), None) is not None:
            summary = f"{_named(account, key)} works again"
            await self._tell("recording_key.works", summary, account, {"key": key, "operation": operation})

    async def failed(self, operation: str, account: str, key: str, failure: KeyFailed) -> None:
        problem = failure.problem
        _count(operation, account, problem.value)
        if problem is KeyProblem.OTHER or self._problems.get((operation, account, key)) is problem:
            return
        self._problems[operation, account, key] = problem
        summary = f"{_named(account, key)} does not work: {failure}"
        details = {"key": key, "problem": problem.value, "operation": operation}
        await self._tell("recording_key.failed", summary, account, details)

    async def _tell(self, kind: str, summary: str, account: str, details: dict[str, str]) -> None:
        event = Event(kind, self._clock(), account or "recordings", summary, account=account, details=details)
        try:
            async with self._database.transaction() as tx:
                await append(tx.connection, event)
        except Exception:  # noqa: BLE001 - the session and its user are told in any case
            _log.exception("recording_key.untold", summary=summary)


def _count(operation: str, account: str, outcome: str) -> None:
    _counter.add(1, {"operation": operation, "account": account, "outcome": outcome})


def _named(account: str, key: str) -> str:
    whose = f"of account {account}" if account else "of the gateway"
    return f"The recording key {whose} ({key})" if key else f"The recording key {whose}"

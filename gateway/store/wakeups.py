"""Wake-ups between replicas: LISTEN and NOTIFY on a connection of their own."""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.failures import DatabaseUnavailable, meaning_of

if TYPE_CHECKING:
    from asyncpg import Connection

_log = structlog.get_logger("jitgate.store")

_CHANNEL: Final = "jitgate_changes"
_PAYLOAD_BYTES: Final = 7900  # the server takes 7999
_MOST_WAITING: Final = 10_000
_RECONNECT_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 15.0
"""How often an idle connection is tried: one that is silently cut hears nothing and would never know."""


class Wakeups:
    """A worker; each replica on PostgreSQL runs one.

    NOTIFY is sent after the commit and not within it: inside, it would make all committing transactions of the
    database queue behind each other. What a replica that dies in between leaves untold, others find by polling.
    """

    def __init__(self, database: Database, changes: Changes) -> None:
        self._url = database.url.render_as_string(hide_password=False)
        self._changes = changes
        self._untold: set[str] = set()
        self._stirred = asyncio.Event()  # there is something to tell, or the connection is gone
        changes.connect(self._tell)

    async def run(self) -> None:
        """Runs until it is cancelled; connects again for as long as that takes."""
        was_heard = True
        while True:
            database = Database(self._url, connections=1)
            try:
                async with database.engine.connect() as connection:
                    raw = await connection.get_raw_connection()
                    driver: Any = raw.driver_connection
                    try:
                        await self._serve(driver)
                        raise ConnectionResetError("it was closed")
                    finally:
                        driver.terminate()
            except Exception as error:  # noqa: BLE001 - logged; a worker that dies would leave replicas to polling
                if was_heard:
                    _log.warning("wakeups.lost", error=_in_words(error))
                was_heard = False
            finally:
                await database.close()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _serve(self, driver: "Connection[Any]") -> None:
        driver.add_termination_listener(lambda _connection: self._stirred.set())
        await driver.add_listener(_CHANNEL, self._hear)
        _log.info("wakeups.connected")
        self._changes.wake_all()
        while not driver.is_closed():
            self._stirred.clear()
            told = list(self._untold)
            for payload in _payloads(told):
                await driver.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload)
            self._untold.difference_update(told)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._stirred.wait()
                continue
            await driver.execute("SELECT 1")

    def _tell(self, topics: tuple[str, ...]) -> None:
        if len(self._untold) < _MOST_WAITING:
            self._untold.update(topics)
            self._stirred.set()

    def _hear(self, connection: Any, sender: int, _channel: str, payload: Any) -> None:
        if sender == connection.get_server_pid():
            return  # our own
        try:
            topics = json.loads(payload)
        except ValueError:
            return
        if isinstance(topics, list):
            self._changes.wake(*(topic for topic in topics if isinstance(topic, str)))


def _payloads(topics: Iterable[str]) -> Iterator[str]:
    """The topics as JSON lists, each short enough for one notification."""
    batch: list[str] = []
    size = 2
    for topic in topics:
        more = len(json.dumps(topic)) + 2
        if batch and size + more > _PAYLOAD_BYTES:
            yield json.dumps(batch)
            batch, size = [], 2
        batch.append(topic)
        size += more
    if batch:
        yield json.dumps(batch)


def _in_words(error: Exception) -> str:
    meaning = error if isinstance(error, DatabaseUnavailable) else meaning_of(error)
    return str(meaning or type(error).__name__)

"""PostgreSQL: how connections are made, noticed to be dead, and kept from waiting for ever."""

from typing import Any, Final

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.store.failures import DatabaseUnavailable, meaning_of

SERVING: Final = "jitgate"
"""What the connections of a gateway that serves are called in pg_stat_activity."""
MAINTENANCE: Final = "jitgate maintenance"
CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 10
"""How long the server works at a statement, or waits for a lock, before it gives up."""
_ANSWER_SECONDS: Final = STATEMENT_SECONDS + 2.0  # then the server itself is not there
_IDLE_TRANSACTION_SECONDS: Final = 30  # a replica that stands still must not hold a row for ever
_POOL_SECONDS: Final = 5.0


def engine_for(url: URL, *, connections: int, patient: bool) -> AsyncEngine:
    """An engine with at most so many connections; a patient one waits for statements as long as they take."""
    settings = {"application_name": MAINTENANCE if patient else SERVING, "timezone": "UTC"}
    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS, "server_settings": settings}
    if not patient:
        settings["statement_timeout"] = settings["lock_timeout"] = f"{STATEMENT_SECONDS}s"
        settings["idle_in_transaction_session_timeout"] = f"{_IDLE_TRANSACTION_SECONDS}s"
        arguments["command_timeout"] = _ANSWER_SECONDS
    # The driver reads the address as psql does: sslmode, sslrootcert, passfile mean what they mean there.
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_async_engine(
        url.set(query={}),
        async_creator=lambda: asyncpg.connect(address, **arguments),
        # Parameters hold hashes of passwords and tokens, which an error must not carry into the log.
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        # Under READ COMMITTED a statement that waited for a row lock sees what the other one committed.
        isolation_level="READ COMMITTED",
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    event.listen(engine.sync_engine, "handle_error", _explain)
    return engine


def _refuse_dead(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """The pool hands out no connection whose server is gone. Costs no round trip, unlike a ping."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def _explain(context: ExceptionContext) -> BaseException | None:
    meaning = meaning_of(context.sqlalchemy_exception or context.original_exception)
    if isinstance(meaning, DatabaseUnavailable) and meaning.is_lost:
        context.is_disconnect = True
        if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
            # A server that does not answer does not answer to a goodbye either.
            driver_connection = context.connection.connection.driver_connection
            assert driver_connection is not None
            driver_connection.terminate()
    return meaning

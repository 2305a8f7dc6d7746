"""What people do with sessions from outside: look at them, end them."""

from collections.abc import Callable
from datetime import datetime

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.text import check_printable
from gateway.sessions import story
from gateway.sessions.model import Session
from gateway.store import events, sessions
from gateway.store.changes import Changes
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared

_MAXIMUM_REASON = 256


class Sessions:
    """Live and past sessions of all replicas."""

    def __init__(self, database: Database, clock: Callable[[], datetime], changes: Changes) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes

    async def find(
        self, caller: Caller, wanted: sessions.Filter, limit: int, after: tuple[datetime, str] | None = None
    ) -> tuple[list[Session], bool]:
        """The caller's own and those that the caller may read, newest first; and whether there are more."""
        reader = sessions.Reader(caller.user.id, caller.scopes(declared.PERMISSION_READ_SESSIONS))
        async with self._database.read() as connection:
            found = await sessions.find(connection, reader, wanted, limit + 1, after)
        return found[:limit], len(found) > limit

    async def terminate(self, caller: Caller, session_id: str, reason: str) -> None:
        """Ends a live session within a second, whichever replica holds it.

        Raises Refused: INVALID_FIELD (`reason` is shown on the user's terminal), SESSION_NOT_FOUND, NOT_PERMITTED,
        SESSION_ENDED.
        """
        check_printable("reason", reason, _MAXIMUM_REASON)
        async with self._database.transaction() as tx:
            session = await sessions.get(tx.connection, session_id, for_update=True)
            if session is None or not _sees(caller, session):
                raise Refused(
                    Kind.NOT_FOUND,
                    "SESSION_NOT_FOUND",
                    f"There is no session {session_id} that you can see",
                    "Look at the live sessions: jit sessions list --live",
                )
            caller.require(declared.PERMISSION_TERMINATE_SESSIONS, session.account, session.region)
            if session.ended_at is not None:
                raise Refused(
                    Kind.FAILED_PRECONDITION,
                    "SESSION_ENDED",
                    f"Session {session_id} ended already ({session.end})",
                    "There is nothing to do.",
                    metadata={"end": str(session.end)},
                )
            await sessions.terminate(tx.connection, session_id, caller.user.id, reason)
            await events.append(tx.connection, story.terminated(session, caller, reason, self._clock()))
            tx.after_commit(lambda: self._changes.publish("sessions", session_id))


def _sees(caller: Caller, session: Session) -> bool:
    where = session.account, session.region
    return (
        session.user_id == caller.user.id
        or caller.may(declared.PERMISSION_READ_SESSIONS, *where)
        or caller.may(declared.PERMISSION_TERMINATE_SESSIONS, *where)
    )

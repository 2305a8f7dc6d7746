"""Sessions of browsers: short, kept here, and worth nothing once the person is locked or removed (R31)."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.identity.caller import Caller
from gateway.identity.model import User
from gateway.identity.ports import Clock
from gateway.identity.signed_in import Proven, Reception
from gateway.store import browser_sessions as stored
from gateway.store import directory
from gateway.store.browser_sessions import StoredSession
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction

LONGEST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """What a browser holds: the secret is in its cookie and nowhere else. `proven_at`: when the person last proved
    who they are; None: not known, so never fresh. `provider`: where; empty: here."""

    secret: str = field(repr=False)
    user_id: str
    provider: str
    proven_at: datetime | None
    expires_at: datetime


class BrowserSessions:
    """A session is looked at in the directory at each request, as a client certificate is."""

    def __init__(self, database: Database, changes: Changes, clock: Clock, lifetime: timedelta = LONGEST) -> None:
        """Raises ValueError for a lifetime beyond 30 minutes."""
        if not timedelta() < lifetime <= LONGEST:
            raise ValueError("a session of a browser lasts at most 30 minutes")
        self._database = database
        self._reception = Reception(changes, clock)
        self._clock = clock
        self._lifetime = lifetime

    async def admit(self, tx: Transaction, proven: Proven) -> BrowserSession:
        """A new session (`signed_in.Admit`). Raises Refused USER_LOCKED."""
        now = self._clock()
        new = BrowserSession(
            secrets.token_urlsafe(32), proven.user.id, proven.provider, proven.at, now + self._lifetime
        )
        await self._reception.receive(tx, proven, new.expires_at)
        await stored.forget_before(tx.connection, now)
        row = StoredSession(_hash(new.secret), new.user_id, new.provider, now, new.proven_at, new.expires_at)
        await stored.add(tx.connection, row)
        return new

    async def caller(self, secret: str, source_address: str) -> tuple[BrowserSession, Caller] | None:
        """The session and who it is, with all grants. None: there is no such session, or it counts no more."""
        if not secret:
            return None
        now = self._clock()
        async with self._database.read() as connection:
            found = await stored.get(connection, _hash(secret), now)
            known = None if found is None else await directory.identity(connection, found.user_id, now)
        if found is None or known is None or not _counts(found, known[0]):
            return None
        session = BrowserSession(secret, found.user_id, found.provider, found.proven_at, found.expires_at)
        # No access token is ever bound to a browser: it has no key.
        caller = Caller(*known, "", source_address, found.expires_at, found.proven_at)
        return session, caller

    async def end(self, secret: str) -> None:
        async with self._database.transaction() as tx:
            await stored.end(tx.connection, _hash(secret))


def _counts(session: StoredSession, user: User) -> bool:
    since = user.certificates_from  # locked, or the password reset
    return user.may_act and (since is None or session.created_at >= since)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

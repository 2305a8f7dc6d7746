"""The one-hour, single-use code that makes an administrator: at the first start, or when nobody else gets in."""

import hashlib
from datetime import timedelta

from gateway.identity.passwords import new_secret
from gateway.identity.ports import Clock
from gateway.store import events, roles, sign_ins
from gateway.store.database import Database, Transaction
from gateway.store.events import Event

LIFETIME = timedelta(hours=1)


async def ensure_first_administrator(database: Database, clock: Clock) -> str | None:
    """A code to print on the host when nobody can administer the organization; None when somebody can."""
    async with database.transaction() as tx:
        if await roles.administrators(tx.connection):
            return None
        return await _issue(tx, clock)


async def new_administrator_code(database: Database, clock: Clock) -> str:
    """A code for somebody on the host. The one before it stops working."""
    async with database.transaction() as tx:
        return await _issue(tx, clock)


def hash_code(code: str) -> str:
    """What is stored of a code; case, blanks and dashes do not count, for people type it."""
    letters = "".join(code.casefold().replace("-", " ").split())
    return hashlib.sha256(letters.encode()).hexdigest()


async def _issue(tx: Transaction, clock: Clock) -> str:
    now = clock()
    code = new_secret()
    await sign_ins.add_code(tx.connection, hash_code(code), now + LIFETIME)
    await events.append(
        tx.connection,
        Event(
            "administrator_code.issued",
            now,
            subject="administrator_code",
            summary="An administrator code was issued on the gateway's host",
            details={"expires_at": (now + LIFETIME).isoformat()},
        ),
    )
    return code

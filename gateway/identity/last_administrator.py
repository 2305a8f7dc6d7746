"""Nobody may take away the last one who can administer the organization (R32)."""

import contextlib
from collections.abc import AsyncIterator

from gateway.errors import Kind, Refused
from gateway.store import roles
from gateway.store.database import Transaction


@contextlib.asynccontextmanager
async def kept(tx: Transaction) -> AsyncIterator[None]:
    """Around a change that may take an administrator away. Changes like it wait for each other, so that two
    administrators cannot remove each other at once.

    Raises Refused FAILED_PRECONDITION LAST_ADMINISTRATOR, which undoes the change.
    """
    await roles.lock_administrators(tx.connection)
    yield
    if not await roles.administrators(tx.connection):
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "LAST_ADMINISTRATOR",
            "after that nobody could administer the organization",
            "Make somebody else organization administrator first: jit roles grant --help",
        )

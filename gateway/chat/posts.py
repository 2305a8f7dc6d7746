"""What chat services posted lately: nothing counts twice, whichever gateway it reaches."""

import hashlib
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError

from gateway.identity.ports import Clock
from gateway.store import chat_posts
from gateway.store.database import Database

REMEMBERED: Final = timedelta(minutes=10)
"""Twice the five minutes for which what was signed counts: of the clock's both sides."""


class ChatPosts:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def is_first(self, channel: str, proof: str) -> bool:
        """Whether that proof has not come before; from now on it has. It is kept as a hash."""
        now = self._clock()
        proof_hash = hashlib.sha256(f"{channel}\n{proof}".encode()).hexdigest()
        try:
            async with self._database.transaction() as tx:
                await chat_posts.forget_before(tx.connection, now)
                await chat_posts.add(tx.connection, proof_hash, now + REMEMBERED)
        except IntegrityError:
            return False
        return True

"""What chat services posted lately: nothing counts twice, whichever gateway it reaches."""

import hashlib

from sqlalchemy.exc import IntegrityError

from gateway.identity.ports import Clock
from gateway.store import chat_posts
from gateway.store.database import Database
from notifiers.chat import Proof


class ChatPosts:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def is_first(self, channel: str, proof: Proof) -> bool:
        """Whether that proof has not come before; from now on it has. It is kept as a hash."""
        now = self._clock()
        proof_hash = hashlib.sha256(f"{channel}\n{proof.once}".encode()).hexdigest()
        try:
            async with self._database.transaction() as tx:
                await chat_posts.forget_before(tx.connection, now)
                await chat_posts.add(tx.connection, proof_hash, proof.until)
        except IntegrityError:
            return False
        return True

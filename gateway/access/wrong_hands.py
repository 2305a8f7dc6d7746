"""Access tokens that are shown by somebody they were not handed to, and what is written down about it (R24)."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import structlog

from gateway.access.model import Token
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.store import events, requests
from gateway.store.database import Database

_log = structlog.get_logger("jitgate.access")

# One event in that time a request and person: whoever goes on trying doesn't fill the table.
TOLD_EVERY = timedelta(minutes=10)
_TYPE = "access_token.refused"


class WrongHands(Refused):
    """A token that exists was shown by another person, or from another client of its holder's."""

    def __init__(self, reason: str, message: str, what_to_do: str, token: Token) -> None:
        """Whoever the token was not handed to learns nothing of it: only the holder is told the request."""
        metadata = {} if reason == "TOKEN_UNKNOWN" else {"request": token.request_id}
        super().__init__(Kind.PERMISSION_DENIED, reason, message, what_to_do, metadata=metadata)
        self.token = token


@contextlib.asynccontextmanager
async def told(database: Database, caller: Caller, now: datetime) -> AsyncIterator[None]:
    """Writes down what is refused within as WrongHands. Put it around the transaction, which that rolls back."""
    try:
        yield
    except WrongHands as refused:
        try:
            await _tell(database, caller, refused.token, now)
        except Exception:  # noqa: BLE001 - logged; the refusal holds whether or not it could be written down
            _log.exception("access_token.refusal_unwritten", request=refused.token.request_id)
        raise


async def _tell(database: Database, caller: Caller, token: Token, now: datetime) -> None:
    async with database.transaction() as tx:
        # Under the lock, so that those who come at one moment, at several gateways, are told of once.
        request = await requests.lock(tx.connection, token.request_id)
        told_from = now - TOLD_EVERY
        if request is None or await events.has(tx.connection, _TYPE, token.request_id, caller.user.id, told_from):
            return
        own = token.user_id == caller.user.id
        whose = "of their own from another client" if own else f"of {token.user_id}'s"
        await events.append(
            tx.connection,
            events.Event(
                type=_TYPE,
                at=now,
                subject=token.request_id,
                summary=f"{caller.user.id} showed an access token {whose} and was refused",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                account=request.life.account,
                region=request.life.region,
                details={
                    "node_id": token.node_id,
                    "holder_id": token.user_id,
                    "holder_key_hash": token.key_hash,
                    "key_hash": caller.key_hash,
                },
            ),
        )

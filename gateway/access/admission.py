"""Who may start a session on a node, and until when (R21, R24, R25, R31)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.model import DEFAULT_MEMBERSHIP_MAX_AGE, EndReason, Request
from gateway.identity.caller import Caller
from gateway.store.database import Transaction

if TYPE_CHECKING:
    from gateway.nodes.model import Node


@dataclass(frozen=True, slots=True)
class Admission:
    """A session may start: of this request, on this node, until `ends_at` at the latest (the window's end)."""

    request: Request
    node: "Node"
    ends_at: datetime


class Gate:
    """Lets a session in, and says when it has to go."""

    def __init__(self, membership_max_age: timedelta = DEFAULT_MEMBERSHIP_MAX_AGE) -> None:
        self._membership_max_age = membership_max_age

    async def admit(
        self,
        tx: Transaction,
        token: str,
        caller: Caller,
        node: str,
        scope: tuple[str, str],
        now: datetime,
    ) -> Admission:
        """Checks everything that a session needs, under the request's row lock, which `tx` then holds.

        `node` is an id or a name in `scope` (account, Region). Insert the session's row in the same `tx`: so a
        revocation comes either before (and this raises) or after (and `still_open` says so). The first session
        starts a window that waits for it (R21).
        Raises Refused: TOKEN_MALFORMED, TOKEN_UNKNOWN, TOKEN_OTHER_KEY, TOKEN_OTHER_NODE, TOKEN_REVOKED,
        TOKEN_EXPIRED, ACCESS_ENDED, USER_LOCKED, NODE_LOCKED, NODE_REMOVED, ACCESS_DISABLED, STALE_MEMBERSHIP.
        """
        raise NotImplementedError

    async def still_open(
        self, connection: AsyncConnection, request_id: str, now: datetime
    ) -> EndReason | None:
        """None while sessions of the request may go on; else why they end. Reads only; one query."""
        raise NotImplementedError

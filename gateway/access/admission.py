"""Who may start a session on a node, and until when (R21, R24, R25, R31)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.commands import SessionStarted
from approvals.model import EndReason, Request, Status
from approvals.outcomes import Refusal
from approvals.window import next_deadline
from gateway.access import ground, tokens
from gateway.access.transitions import Transitions, refused
from gateway.identity.caller import Caller
from gateway.nodes.model import Node
from gateway.store import requests
from gateway.store.database import Transaction
from jitgate.v1 import annotations_pb2 as declared


@dataclass(frozen=True, slots=True)
class Admission:
    """A session may start: of this request, on this node, until `ends_at` at the latest (the window's end)."""

    request: Request
    node: Node
    ends_at: datetime


class Gate:
    """Lets a session in, and says when it has to go."""

    def __init__(self, transitions: Transitions) -> None:
        self._transitions = transitions

    async def admit(  # noqa: PLR0917 - the order in which sessions know them
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
        TOKEN_EXPIRED, ACCESS_ENDED, NOT_PERMITTED, USER_LOCKED, USER_REMOVED, NODE_NOT_FOUND, NODE_LOCKED,
        ACCESS_DISABLED, STALE_MEMBERSHIP.
        """
        connection = tx.connection
        found = await tokens.find(connection, token, caller)
        request = await requests.lock(connection, found.request_id)
        # From here on nobody changes the request or its tokens: what is read now still holds at the commit.
        caller = await ground.afresh(connection, caller, now)
        caller.require(declared.PERMISSION_REQUEST_ACCESS, *scope)
        record = await ground.node_to_reach(connection, node, scope)
        await tokens.check(connection, token, caller, record.id, now)
        if request is None:
            raise tokens.access_ended(found.request_id, None)
        await tokens.require_ground(connection, request.life)
        by = ground.actor_of(caller, record.account, record.region)
        started = await self._transitions.change(tx, request, SessionStarted(by), now)
        if isinstance(started, Refusal):
            raise refused(started)
        ends_at = next_deadline(started.life)
        if ends_at is None:
            raise tokens.access_ended(found.request_id, started)
        return Admission(started.life, record, ends_at)

    async def still_open(self, connection: AsyncConnection, request_id: str, now: datetime) -> EndReason | None:
        """None while sessions of the request may go on; else why they end. Reads only; one query."""
        standing = await requests.standing(connection, request_id)
        if standing is None:
            return EndReason.WINDOW_ENDED
        if standing.status is not Status.APPROVED:
            return standing.end_reason or EndReason.WINDOW_ENDED
        if standing.deadline is None or now >= standing.deadline:
            return EndReason.WINDOW_ENDED
        # Whoever locks or removes also ends the request; should that fail, the lock itself still counts.
        grounds = {
            EndReason.USER_LOCKED: standing.user_locked,
            EndReason.USER_REMOVED: standing.user_removed,
            EndReason.NODE_LOCKED: standing.node_locked,
            EndReason.NODE_REMOVED: standing.node_removed,
        }
        return next((reason for reason, gone in grounds.items() if gone), None)

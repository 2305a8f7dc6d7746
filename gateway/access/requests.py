"""Asking for access, and everything that people do to a request afterwards (R2, R4, R16 to R23)."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from approvals.commands import Approve, Cancel, Command, Deny, GiveBack, Open, Revoke, Withdraw
from approvals.model import Actor, Plan, Status
from approvals.outcomes import Refusal
from gateway.access import ground
from gateway.access.compiled import CompiledPolicies
from gateway.access.model import AccessRequest
from gateway.access.plan import disabled, plan_of
from gateway.access.principal import principal_of
from gateway.access.transitions import Transitions, refused
from gateway.access.visibility import not_found, sees
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.nodes.model import Node
from gateway.store import policies, requests, targets
from gateway.store.database import Database, Transaction
from jitgate.v1 import annotations_pb2 as declared
from policy.model import Resource

# Of one person. Approvers get a notice of each, and nobody waits for a hundred answers.
DEFAULT_MAX_PENDING = 100


def new_request_id() -> str:
    return f"oi-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a requester asks for: a node by id or name in `scope` (account, Region), and why (R23).

    `hours` can only shorten the policy's window. A call that repeats an idempotency key answers the request that
    the first one made.
    """

    scope: tuple[str, str]
    node: str
    reason: str
    hours: int | None = None
    idempotency_key: str | None = None


class AccessRequests:
    """The use cases that change requests, each in one transaction, on people, nodes and policies read in it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        transitions: Transitions,
        policies: CompiledPolicies,
        new_id: Callable[[], str] = new_request_id,
        *,
        max_pending: int = DEFAULT_MAX_PENDING,
    ) -> None:
        self._database = database
        self._clock = clock
        self._transitions = transitions
        self._policies = policies
        self._new_id = new_id
        self._max_pending = max_pending

    async def start(self, caller: Caller, ask: Ask) -> AccessRequest:
        """Makes a request and decides on it at once: Pending, Approved or Failed (R5 to R11).

        Raises Refused: NOT_PERMITTED (R2: not the caller's account and Region), NODE_NOT_FOUND, NODE_LOCKED,
        USER_LOCKED, STALE_MEMBERSHIP, INVALID_REASON, INVALID_HOURS, IDEMPOTENCY_KEY_REUSED, POLICY_UNUSABLE,
        PENDING_LIMIT.
        """
        caller.require(declared.PERMISSION_REQUEST_ACCESS, *ask.scope)
        try:
            async with self._database.transaction() as tx:
                return await self._start(tx, caller, ask)
        except IntegrityError:
            if ask.idempotency_key is None:
                raise
            # Two calls with one key at the same moment, at two replicas: the other one won.
            async with self._database.transaction() as tx:
                return await self._start(tx, caller, ask)

    async def _start(self, tx: Transaction, caller: Caller, ask: Ask) -> AccessRequest:
        connection, now = tx.connection, self._clock()
        await requests.hold_ground(connection, caller.user.id, ask.node, *ask.scope)
        caller = await ground.afresh(connection, caller, now)
        caller.require(declared.PERMISSION_REQUEST_ACCESS, *ask.scope)
        node = await ground.node_to_reach(connection, ask.node, ask.scope)
        if ask.idempotency_key is not None:
            earlier = await requests.with_idempotency_key(connection, caller.user.id, ask.idempotency_key)
            if earlier is not None:
                return await _with_story(tx, _repeated(earlier, node, ask))
        plan, explanation = await self._decide(tx, caller, node)
        outcome = self._transitions.decide(
            None,
            Open(
                request_id=self._new_id(),
                actor=ground.actor_of(caller, *ask.scope),
                account=node.account,
                region=node.region,
                node_id=node.id,
                reason=ask.reason,
                plan=plan,
                hours=ask.hours,
            ),
            now,
        )
        if isinstance(outcome, Refusal):
            raise refused(outcome)
        if outcome.request.status is Status.PENDING:
            await self._refuse_hoarding(tx, caller)
        opened = AccessRequest(outcome.request, node.name, explanation)
        await self._transitions.open(tx, opened, outcome, ask.idempotency_key)
        return await _with_story(tx, opened)

    async def _refuse_hoarding(self, tx: Transaction, caller: Caller) -> None:
        if await requests.count_pending(tx.connection, caller.user.id, self._max_pending) < self._max_pending:
            return
        raise Refused(
            Kind.RESOURCE_EXHAUSTED,
            "PENDING_LIMIT",
            f"{caller.user.id} has {self._max_pending} requests that wait for a decision, and may not have more.",
            "Cancel what is no longer needed, jit cancel ID; see it by: jit requests list --mine",
            metadata={"limit": str(self._max_pending)},
        )

    async def _decide(self, tx: Transaction, caller: Caller, node: Node) -> tuple[Plan, dict[str, Any]]:
        if not await targets.is_enabled(tx.connection, node.account, node.region):
            return disabled(node), {}
        await policies.hold_scope(tx.connection, node.account, node.region)
        deciding = await self._policies.deciding(tx.connection, node.account, node.region)
        decision = deciding.evaluate(principal_of(caller.user), Resource(node.id, node.tags))
        return plan_of(decision.outcome, node), decision.explanation.to_dict()

    async def approve(
        self, caller: Caller, request_id: str, comment: str = "", *, shown_level: int | None = None
    ) -> AccessRequest:
        """Counts the caller's approval at the current level.

        `shown_level`, here as with the others that have it: the level (from 1; 0: none) that the caller saw when
        deciding, where that was not this very moment. Raises Refused LEVEL_CHANGED when it is another one by now.

        Raises Refused: REQUEST_NOT_FOUND, NOT_PERMITTED (no approver role there), NOT_ELIGIBLE (not named at the
        current level), STEP_UP_NEEDED, OWN_REQUEST, ALREADY_APPROVED, STALE_MEMBERSHIP, WRONG_STATUS, TOO_LATE,
        INVALID_COMMENT.
        """
        return await self._decided(caller, request_id, lambda by: Approve(by, comment), shown_level)

    async def deny(
        self, caller: Caller, request_id: str, comment: str = "", *, shown_level: int | None = None
    ) -> AccessRequest:
        """Raises Refused as `approve`, ALREADY_APPROVED aside: who approved may still deny (R18)."""
        return await self._decided(caller, request_id, lambda by: Deny(by, comment), shown_level)

    async def revoke(
        self, caller: Caller, request_id: str, comment: str = "", *, shown_level: int | None = None
    ) -> AccessRequest:
        """Takes the caller's approval back. An administrator revokes an open window, and takes back what a pending
        request was approved so far (R19).

        It only takes away, so it needs neither the approver role nor fresh membership.
        Raises Refused: REQUEST_NOT_FOUND, NOTHING_TO_WITHDRAW, NOT_ELIGIBLE, WRONG_STATUS, TOO_LATE,
        INVALID_COMMENT.
        """
        async with self._database.transaction() as tx:
            caller, request = await self._locked(tx, caller, request_id)
            _refuse_another_level(request, shown_level)
            by = ground.actor_of(caller, request.life.account, request.life.region)
            is_pending = request.life.status is Status.PENDING
            command = Withdraw(by, comment=comment) if is_pending else Revoke(by, comment)
            return await self._change(tx, request, command)

    async def cancel(self, caller: Caller, request_id: str) -> AccessRequest:
        """Raises Refused: REQUEST_NOT_FOUND, NOT_REQUESTER, WRONG_STATUS, TOO_LATE."""
        return await self._own(caller, request_id, Cancel)

    async def give_back(self, caller: Caller, request_id: str) -> AccessRequest:
        """Raises Refused: REQUEST_NOT_FOUND, NOT_REQUESTER, WRONG_STATUS, TOO_LATE."""
        return await self._own(caller, request_id, GiveBack)

    async def _decided(
        self, caller: Caller, request_id: str, command: Callable[[Actor], Command], shown_level: int | None
    ) -> AccessRequest:
        """A decision needs both: the approver role in the request's scope, and a place in the level (R17, R32)."""
        async with self._database.transaction() as tx:
            caller, request = await self._locked(tx, caller, request_id)
            scope = (request.life.account, request.life.region)
            caller.require(declared.PERMISSION_DECIDE_ACCESS, *scope)
            _refuse_another_level(request, shown_level)
            return await self._change(tx, request, command(ground.actor_of(caller, *scope)))

    async def _own(self, caller: Caller, request_id: str, command: Callable[[Actor], Command]) -> AccessRequest:
        async with self._database.transaction() as tx:
            caller, request = await self._locked(tx, caller, request_id)
            by = ground.actor_of(caller, request.life.account, request.life.region)
            return await self._change(tx, request, command(by))

    async def _locked(self, tx: Transaction, caller: Caller, request_id: str) -> tuple[Caller, AccessRequest]:
        """The request under its row lock, and the caller as the directory knows them now."""
        request = await requests.lock(tx.connection, request_id)
        caller = await ground.afresh(tx.connection, caller, self._clock())
        if request is None or not sees(caller, request):
            raise not_found(request_id)
        return caller, request

    async def _change(self, tx: Transaction, request: AccessRequest, command: Command) -> AccessRequest:
        changed = await self._transitions.change(tx, request, command, self._clock())
        if isinstance(changed, Refusal):
            raise refused(changed)
        return await _with_story(tx, changed)


def _refuse_another_level(request: AccessRequest, shown: int | None) -> None:
    """What has ended is left to the core, which says what became of it."""
    level = request.life.current_level
    now = 0 if level is None else level + 1
    if shown is None or shown == now or request.life.status.is_final:
        return
    stands = f"waits at level {now}" if now else f"is {request.life.status}"
    raise Refused(
        Kind.FAILED_PRECONDITION,
        "LEVEL_CHANGED",
        f"{request.life.id} {stands} by now, which is not what was shown to you.",
        "Look at the request again, then decide.",
    )


async def _with_story(tx: Transaction, request: AccessRequest) -> AccessRequest:
    return replace(request, events=await requests.story(tx.connection, request.life.id))


def _repeated(earlier: AccessRequest, node: Node, ask: Ask) -> AccessRequest:
    life = earlier.life
    if (life.node_id, life.reason, life.hours) == (node.id, ask.reason.strip(), ask.hours):
        return earlier
    raise Refused(
        Kind.ALREADY_EXISTS,
        "IDEMPOTENCY_KEY_REUSED",
        f"This idempotency key made {life.id} already, which asks for something else.",
        "Use a new random key for every request.",
    )

"""Ends access whose ground is gone, in the transaction that takes it away (R3, R4, R25, R31)."""

from collections.abc import Iterable

from approvals.commands import Command, Reevaluate, SystemRevoke, Tick
from approvals.model import Actor, EndReason
from approvals.outcomes import Refusal, RefusalReason
from gateway.access.compiled import CompiledPolicies
from gateway.access.model import AccessRequest
from gateway.access.plan import plan_of
from gateway.access.principal import principal_of
from gateway.access.transitions import Transitions
from gateway.errors import Refused
from gateway.identity.model import RoleGrant
from gateway.identity.permissions import allows
from gateway.identity.ports import Actor as Who
from gateway.identity.ports import Clock
from gateway.store import directory, events, nodes, requests
from gateway.store.database import Transaction
from jitgate.v1 import annotations_pb2 as declared
from policy.model import NoPolicy, Resource


class Ender:
    """What identity and nodes call `AccessEnder`. Pending requests end as Failed, open windows as Revoked."""

    def __init__(self, clock: Clock, transitions: Transitions, policies: CompiledPolicies) -> None:
        self._clock = clock
        self._transitions = transitions
        self._policies = policies

    async def user_locked(self, tx: Transaction, user_id: str, reason: str, actor: Who) -> None:
        affected = await requests.lock_alive(tx.connection, requester_id=user_id)
        await self._end(tx, affected, EndReason.USER_LOCKED, actor, reason)

    async def user_removed(self, tx: Transaction, user_id: str, actor: Who) -> None:
        affected = await requests.lock_alive(tx.connection, requester_id=user_id)
        await self._end(tx, affected, EndReason.USER_REMOVED, actor, f"{user_id} is no longer in the directory.")

    async def node_locked(self, tx: Transaction, node_id: str, reason: str, actor: Who) -> None:
        affected = await requests.lock_alive(tx.connection, node_id=node_id)
        await self._end(tx, affected, EndReason.NODE_LOCKED, actor, reason)

    async def node_removed(self, tx: Transaction, node_id: str, actor_id: str) -> None:
        affected = await requests.lock_alive(tx.connection, node_id=node_id)
        actor = Who(actor_id, "")
        await self._end(tx, affected, EndReason.NODE_REMOVED, actor, f"{node_id} was removed.")

    async def scope_disabled(self, tx: Transaction, account: str, region: str, actor: Who) -> None:
        affected = await requests.lock_alive(tx.connection, scope=(account, region))
        note = f"Just-in-time access was disabled in account {account}, Region {region}."
        await self._end(tx, affected, EndReason.DISABLED, actor, note)

    async def node_tags_changed(self, tx: Transaction, node_id: str) -> None:
        affected = await requests.lock_alive(tx.connection, node_id=node_id)
        await self._reevaluate(tx, affected, EndReason.TAGS_CHANGED, None)

    async def groups_changed(self, tx: Transaction, user_id: str, actor: Who) -> None:
        """Groups bring roles as well as decisions: first what may no longer be asked for ends."""
        affected = await requests.lock_alive(tx.connection, requester_id=user_id)
        left = await self._end_unasked(tx, affected, actor)
        await self._reevaluate(tx, left, EndReason.REQUESTER_CHANGED, actor)

    async def role_revoked(self, tx: Transaction, grant: RoleGrant, actor: Who) -> None:
        whose = {"user_id" if grant.holder_type == "user" else "group_id": grant.holder_id}
        await requests.await_requesters(tx.connection, **whose)
        group_id, user_id = whose.get("group_id"), whose.get("user_id")
        affected = await requests.lock_alive(tx.connection, requester_id=user_id, group_id=group_id)
        await self._end_unasked(tx, affected, actor)

    async def _end_unasked(
        self, tx: Transaction, affected: Iterable[AccessRequest], actor: Who
    ) -> list[AccessRequest]:
        """Ends the requests that their requesters could not make any more; the others."""
        left = []
        for request in affected:
            life = request.life
            known = await directory.identity(tx.connection, life.requester.user_id, self._clock())
            grants = known[1] if known else ()
            asks = declared.PERMISSION_REQUEST_ACCESS
            if any(allows(grant, asks, life.account, life.region) for grant in grants):
                left.append(request)
                continue
            note = f"{life.requester.user_id} lacks the role in account {life.account}, Region {life.region}."
            await self._end(tx, [request], EndReason.ROLE_REVOKED, actor, note)
        return left

    async def _end(
        self, tx: Transaction, affected: Iterable[AccessRequest], reason: EndReason, actor: Who, note: str
    ) -> None:
        command = SystemRevoke(reason, self._actor(actor), note)
        for request in affected:
            await self._apply(tx, request, command)

    async def _reevaluate(
        self, tx: Transaction, affected: Iterable[AccessRequest], reason: EndReason, actor: Who | None
    ) -> None:
        """Decides again on what the node, the person and the policies are now; the pinned version stays (R3)."""
        for request in affected:
            life = request.life
            user = await directory.get(tx.connection, life.requester.user_id, self._clock())
            node = await nodes.get(tx.connection, life.node_id)
            if user is None or node is None:
                raise LookupError(f"{life.id} is about somebody or something that never was")
            try:
                deciding = await self._policies.deciding(tx.connection, life.account, life.region)
            except Refused:
                # A policy that can't be read approves nobody; the change must not fail because of it.
                plan, told = plan_of(NoPolicy(), node), {}
            else:
                decision = deciding.evaluate(principal_of(user), Resource(node.id, node.tags))
                plan, told = plan_of(decision.outcome, node), decision.explanation.to_dict()
            command = Reevaluate(plan, self._actor(actor), reason)
            changed = await self._apply(tx, request, command)
            if changed.revision > request.revision:
                await events.append(tx.connection, self._why(changed, told))

    async def _apply(self, tx: Transaction, request: AccessRequest, command: Command) -> AccessRequest:
        changed = await self._transitions.change(tx, request, command, self._clock())
        if isinstance(changed, Refusal) and changed.reason is RefusalReason.TOO_LATE:
            changed = await self._transitions.change(tx, request, Tick(), self._clock())
        if not isinstance(changed, Refusal):
            return changed
        raise RuntimeError(f"{request.life.id} could not be ended: {changed.message}")

    def _actor(self, actor: Who | None) -> Actor | None:
        if actor is None or not actor.id:
            return None
        return Actor(actor.id, self._clock(), source_address=actor.source_address)

    def _why(self, request: AccessRequest, explanation: dict[str, object]) -> events.Event:
        return events.Event(
            type="access_request.reevaluated",
            at=request.life.updated_at,
            subject=request.life.id,
            summary=f"The policies were asked again about {request.node_name}",
            account=request.life.account,
            region=request.life.region,
            details={"explanation": explanation},
        )

"""Access requests: what is stored of them, and the questions that are asked about many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.codec import approvals_from_json, approvals_to_json, plan_from_json, plan_to_json
from approvals.model import ApprovalPlan, AutoApproval, EndReason, Person, Request, Status
from approvals.window import next_deadline
from gateway.access.model import AccessRequest
from gateway.store import tables
from gateway.store.events import Event, from_row
from gateway.store.scopes import within

_rows = tables.access_requests
_approvers = tables.access_request_approvers
_FORM = 1
_ALIVE = (Status.PENDING.value, Status.APPROVED.value)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: sees the own requests, those that name the reader as an approver, and all of `scopes`."""

    user_id: str
    groups: frozenset[str]
    scopes: tuple[tuple[str, str], ...]  # account and Region, each may be *


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; an empty field does not narrow."""

    statuses: frozenset[Status] = frozenset()
    requester_id: str = ""
    node: str = ""  # id or name
    account: str = ""
    region: str = ""
    named: bool = False  # only requests of others that name the reader as an approver


async def get(connection: AsyncConnection, request_id: str) -> AccessRequest | None:
    row = (await connection.execute(select(_rows).where(_rows.c.id == request_id))).one_or_none()
    return None if row is None else _from_row(row)


async def lock(connection: AsyncConnection, request_id: str) -> AccessRequest | None:
    """As `get`, and nobody else changes the request before the transaction ends."""
    query = select(_rows).where(_rows.c.id == request_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _from_row(row)


async def lock_alive(
    connection: AsyncConnection,
    *,
    requester_id: str | None = None,
    group_id: str | None = None,
    node_id: str | None = None,
    scope: tuple[str, str] | None = None,
) -> list[AccessRequest]:
    """The pending and approved requests of a person, a group's members, a node or a scope, locked in the order of
    their ids.

    Everybody who locks several does it in that order, so that nobody waits in a circle.
    """
    query = select(_rows).where(_rows.c.status.in_(_ALIVE)).order_by(_rows.c.id).with_for_update()
    if requester_id is not None:
        query = query.where(_rows.c.requester_id == requester_id)
    if group_id is not None:
        query = query.where(_rows.c.requester_id.in_(_members(group_id)))
    if node_id is not None:
        query = query.where(_rows.c.node_id == node_id)
    if scope is not None:
        query = query.where(_rows.c.account == scope[0], _rows.c.region == scope[1])
    return [_from_row(row) for row in await connection.execute(query)]


async def with_idempotency_key(connection: AsyncConnection, requester_id: str, key: str) -> AccessRequest | None:
    query = select(_rows).where(_rows.c.requester_id == requester_id, _rows.c.idempotency_key == key)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _from_row(row)


async def hold_ground(connection: AsyncConnection, user_id: str, node: str, account: str, region: str) -> None:
    """Makes whoever locks or removes the person or the node (id or name), changes its tags, or disables the scope,
    wait for this transaction: they then find the request that it adds. Take it before any request is locked.

    Whoever else asks in the person's name waits as well, so that what the person has can be counted.
    """
    users, nodes, targets = tables.users, tables.nodes, tables.targets
    in_scope = (nodes.c.account == account, nodes.c.region == region)
    person = select(users.c.id).where(users.c.id == user_id)
    await connection.execute(person.with_for_update(key_share=True))
    for ground in (
        select(nodes.c.id).where(*in_scope, or_(nodes.c.id == node, nodes.c.name == node)).order_by(nodes.c.id),
        select(targets.c.account).where(targets.c.account == account, targets.c.region == region),
    ):
        await connection.execute(ground.with_for_update(read=True))


async def count_pending(connection: AsyncConnection, requester_id: str, at_most: int) -> int:
    """How many requests of a person wait for a decision, counted no further than `at_most`."""
    mine = select(_rows.c.id).where(_rows.c.requester_id == requester_id, _rows.c.status == Status.PENDING.value)
    return await connection.scalar(select(func.count()).select_from(mine.limit(at_most).subquery())) or 0


async def await_requesters(
    connection: AsyncConnection, *, user_id: str | None = None, group_id: str | None = None
) -> None:
    """Waits for those who hold the person, or a member of the group, as `hold_ground` does.

    Their requests are there then, and no further ones come before the transaction ends.
    """
    people = tables.users.c.id
    whose = people == user_id if group_id is None else people.in_(_members(group_id))
    await connection.execute(select(people).where(whose).order_by(people).with_for_update())


async def add(connection: AsyncConnection, new: AccessRequest, idempotency_key: str | None) -> None:
    """Inserts the request and, for "requests for me", its approvers."""
    life = new.life
    await connection.execute(
        insert(_rows).values(
            id=life.id,
            account=life.account,
            region=life.region,
            requester_id=life.requester.user_id,
            node_id=life.node_id,
            node_name=new.node_name,
            auto_approved=isinstance(life.plan, AutoApproval),
            explanation=dict(new.explanation),
            created_at=life.opened_at,
            idempotency_key=idempotency_key,
            **_changing(new),
        )
    )
    if not isinstance(life.plan, ApprovalPlan):
        return
    named = {
        (index, approver.kind.value, approver.id)
        for index, level in enumerate(life.plan.levels)
        for approver in level.named
    }
    names = ("level", "approver_type", "approver_id")
    await connection.execute(
        insert(_approvers), [{"request_id": life.id, **dict(zip(names, row, strict=True))} for row in named]
    )


async def save(connection: AsyncConnection, changed: AccessRequest) -> None:
    """Writes a locked request back; `changed.revision` is one more than it was when locked.

    Raises RuntimeError when it is not: then the request was not locked.
    """
    result = await connection.execute(
        update(_rows)
        .where(_rows.c.id == changed.life.id, _rows.c.revision == changed.revision - 1)
        .values(**_changing(changed))
    )
    if result.rowcount != 1:
        raise RuntimeError(f"{changed.life.id} changed under a lock that was not there")


async def find(
    connection: AsyncConnection,
    reader: Reader,
    wanted: Filter,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[AccessRequest]:
    """Newest first, from the one after (`created_at`, id) on."""
    query: Select[Any] = select(_rows).order_by(_rows.c.created_at.desc(), _rows.c.id.desc()).limit(limit)
    if wanted.named:
        query = query.where(_named(reader), _rows.c.requester_id != reader.user_id)
    else:
        query = query.where(
            or_(_rows.c.requester_id == reader.user_id, _named(reader), within(_rows, reader.scopes))
        )
    if wanted.statuses:
        query = query.where(_rows.c.status.in_([status.value for status in wanted.statuses]))
    if wanted.requester_id:
        query = query.where(_rows.c.requester_id == wanted.requester_id)
    if wanted.node:
        query = query.where(or_(_rows.c.node_id == wanted.node, _rows.c.node_name == wanted.node))
    if wanted.account:
        query = query.where(_rows.c.account == wanted.account)
    if wanted.region:
        query = query.where(_rows.c.region == wanted.region)
    if after is not None:
        created_at, request_id = after
        query = query.where(
            or_(
                _rows.c.created_at < created_at,
                and_(_rows.c.created_at == created_at, _rows.c.id < request_id),
            )
        )
    return [_from_row(row) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What sessions of a request must know at every moment, in one row."""

    status: Status
    end_reason: EndReason | None
    deadline: datetime | None
    user_locked: bool
    user_removed: bool
    node_locked: bool
    node_removed: bool


async def standing(connection: AsyncConnection, request_id: str) -> Standing | None:
    users, nodes = tables.users, tables.nodes
    query = (
        select(
            _rows.c.status,
            _rows.c.state["end_reason"].as_string().label("end_reason"),
            _rows.c.next_deadline,
            users.c.locked_at.label("user_locked_at"),
            users.c.removed_at.label("user_removed_at"),
            nodes.c.locked_at.label("node_locked_at"),
            nodes.c.removed_at.label("node_removed_at"),
        )
        .join(users, users.c.id == _rows.c.requester_id)
        .join(nodes, nodes.c.id == _rows.c.node_id)
        .where(_rows.c.id == request_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Standing(
        status=Status(row.status),
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        deadline=row.next_deadline,
        user_locked=row.user_locked_at is not None,
        user_removed=row.user_removed_at is not None,
        node_locked=row.node_locked_at is not None,
        node_removed=row.node_removed_at is not None,
    )


async def due(
    connection: AsyncConnection, now: datetime, limit: int, *, without: frozenset[str] = frozenset()
) -> list[str]:
    """Ids of the requests for which time has something to do, the longest overdue first; `without` some."""
    query = (
        select(_rows.c.id)
        .where(_rows.c.status.in_(_ALIVE), _rows.c.next_deadline <= now, _rows.c.id.not_in(without))
        .order_by(_rows.c.next_deadline)
        .limit(limit)
    )
    return list(await connection.scalars(query))


async def earliest_deadline(
    connection: AsyncConnection, *, without: frozenset[str] = frozenset()
) -> datetime | None:
    """When time has something to do next; `without` some requests."""
    alive = (_rows.c.status.in_(_ALIVE), _rows.c.id.not_in(without))
    query = select(_rows.c.next_deadline).where(*alive).order_by(_rows.c.next_deadline)
    return await connection.scalar(query.where(_rows.c.next_deadline.is_not(None)).limit(1))


async def live(
    connection: AsyncConnection, after: str, limit: int
) -> list[tuple[str, AccessRequest | ValueError]]:
    """Requests that are pending or open, by id, from after that one on; of a damaged record, the error."""
    query = select(_rows).where(_rows.c.status.in_(_ALIVE), _rows.c.id > after).order_by(_rows.c.id).limit(limit)
    return [(row.id, _readable(row)) for row in await connection.execute(query)]


def _readable(row: Row[Any]) -> AccessRequest | ValueError:
    try:
        return _from_row(row)
    except (ValueError, KeyError, TypeError) as error:
        return ValueError(f"{row.id} is damaged: {error!r}")


async def ended_before(connection: AsyncConnection, moment: datetime, limit: int) -> list[AccessRequest]:
    query = select(_rows).where(_rows.c.ended_at <= moment).order_by(_rows.c.ended_at).limit(limit)
    return [_from_row(row) for row in await connection.execute(query)]


async def purge(connection: AsyncConnection, request_ids: Sequence[str]) -> frozenset[str]:
    """Deletes requests with their approvers and tokens; events stay. Answers those that were still there."""
    query = delete(_rows).where(_rows.c.id.in_(request_ids)).returning(_rows.c.id)
    return frozenset(await connection.scalars(query))


async def story(connection: AsyncConnection, request_id: str) -> tuple[Event, ...]:
    """What happened to the request, in order."""
    query = select(tables.events).where(tables.events.c.subject == request_id).order_by(tables.events.c.sequence)
    return tuple(from_row(row) for row in await connection.execute(query))


def _members(group_id: str) -> Select[Any]:
    return select(tables.memberships.c.user_id).where(tables.memberships.c.group_id == group_id)


def _named(reader: Reader) -> ColumnElement[bool]:
    names = [("user", reader.user_id), *(("group", group) for group in sorted(reader.groups))]
    return exists().where(
        _approvers.c.request_id == _rows.c.id,
        tuple_(_approvers.c.approver_type, _approvers.c.approver_id).in_(names),
    )


def _changing(request: AccessRequest) -> dict[str, Any]:
    life = request.life
    return {
        "status": life.status.value,
        "state": _to_state(life),
        "ended_at": life.ended_at,
        "next_deadline": next_deadline(life),
        "revision": request.revision,
    }


def _to_state(life: Request) -> dict[str, Any]:
    return {
        "form": _FORM,
        "person_id": life.requester.person_id,
        "reason": life.reason,
        "hours": life.hours,
        "plan": plan_to_json(life.plan),
        "approvals": approvals_to_json(life.approvals),
        "opened_at": life.opened_at.isoformat(),
        "updated_at": life.updated_at.isoformat(),
        "approved_at": _time_to_json(life.approved_at),
        "window_start": _time_to_json(life.window_start),
        "window_end": _time_to_json(life.window_end),
        "end_reason": life.end_reason.value if life.end_reason else None,
        "end_note": life.end_note,
        "ended_by": life.ended_by,
    }


def _from_row(row: Row[Any]) -> AccessRequest:
    """Raises ValueError for a state that `_to_state` did not write."""
    state: Mapping[str, Any] = row.state
    if state["form"] != _FORM:
        raise ValueError(f"{row.id} is stored in the unknown form {state['form']!r}")
    life = Request(
        id=row.id,
        requester=Person(row.requester_id, state["person_id"]),
        account=row.account,
        region=row.region,
        node_id=row.node_id,
        reason=state["reason"],
        hours=state["hours"],
        plan=plan_from_json(state["plan"]),
        status=Status(row.status),
        opened_at=datetime.fromisoformat(state["opened_at"]),
        updated_at=datetime.fromisoformat(state["updated_at"]),
        approvals=approvals_from_json(state["approvals"]),
        approved_at=_time_from_json(state["approved_at"]),
        window_start=_time_from_json(state["window_start"]),
        window_end=_time_from_json(state["window_end"]),
        ended_at=row.ended_at,
        end_reason=EndReason(state["end_reason"]) if state["end_reason"] else None,
        end_note=state["end_note"],
        ended_by=state.get("ended_by", ""),  # not known of those that ended before it was written down
    )
    return AccessRequest(life, row.node_name, row.explanation, row.revision)


def _time_to_json(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _time_from_json(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)

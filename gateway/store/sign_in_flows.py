"""Sign-ins under way at an identity provider (R31)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables

_flows = tables.sign_in_flows


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in that has begun. `certificate_request` (DER) is for the one key that it can be for; `sealed` opens
    with the handle only."""

    handle_hash: str
    provider: str
    kind: str  # browser | device
    source: str
    certificate_request: bytes
    sealed: bytes = field(repr=False)
    expires_at: datetime
    next_poll_at: datetime
    interval: timedelta


async def add(connection: AsyncConnection, flow: Flow) -> None:
    await connection.execute(
        insert(_flows).values(
            handle_hash=flow.handle_hash,
            provider=flow.provider,
            kind=flow.kind,
            source=flow.source,
            certificate_request=flow.certificate_request,
            sealed=flow.sealed,
            expires_at=flow.expires_at,
            next_poll_at=flow.next_poll_at,
            interval_seconds=int(flow.interval.total_seconds()),
        )
    )


async def get(connection: AsyncConnection, handle_hash: str, now: datetime) -> Flow | None:
    """The flow. None: over, finished, or never begun."""
    query = select(_flows).where(_flows.c.handle_hash == handle_hash, _flows.c.expires_at > now)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Flow(
        handle_hash=row.handle_hash,
        provider=row.provider,
        kind=row.kind,
        source=row.source,
        certificate_request=row.certificate_request,
        sealed=row.sealed,
        expires_at=row.expires_at,
        next_poll_at=row.next_poll_at,
        interval=timedelta(seconds=row.interval_seconds),
    )


async def finish(connection: AsyncConnection, handle_hash: str) -> bool:
    """Uses the flow up. False: somebody else was faster."""
    return (await connection.execute(delete(_flows).where(_flows.c.handle_hash == handle_hash))).rowcount == 1


async def claim_poll(connection: AsyncConnection, flow: Flow, now: datetime) -> bool:
    """Takes the turn to ask the provider. False: it is too early, or somebody else asks."""
    turn = (
        update(_flows)
        .where(_flows.c.handle_hash == flow.handle_hash, _flows.c.next_poll_at <= now)
        .values(next_poll_at=now + flow.interval)
    )
    return (await connection.execute(turn)).rowcount == 1


async def slow_down(connection: AsyncConnection, handle_hash: str, interval: timedelta, now: datetime) -> None:
    values = {"interval_seconds": int(interval.total_seconds()), "next_poll_at": now + interval}
    await connection.execute(update(_flows).where(_flows.c.handle_hash == handle_hash).values(**values))


async def forget_before(connection: AsyncConnection, now: datetime) -> None:
    await connection.execute(delete(_flows).where(_flows.c.expires_at <= now))


async def count(connection: AsyncConnection, now: datetime, source: str = "") -> int:
    """How many are under way, from one source or from all."""
    query = select(func.count()).select_from(_flows).where(_flows.c.expires_at > now)
    return await connection.scalar(query.where(_flows.c.source == source) if source else query) or 0

"""What `jit doctor` asks about channels and sinks: whether they work, what waits in them, what was given up."""

from gateway.api.diagnosis import Check, Diagnosis
from gateway.identity.ports import Clock
from gateway.notices.channels import Channel, Channels, Sink
from gateway.store import outbox
from gateway.store.database import Database
from gateway.store.outbox import Backlog
from notifiers.errors import NotDelivered


def channel_checks(channels: Channels, database: Database, clock: Clock) -> tuple[Check, ...]:
    """One for each that is configured; none where nobody is told anything."""
    every: tuple[Channel | Sink, ...] = (*channels.notifiers, *channels.sinks)
    return tuple(_check(each, database, clock) for each in every)


def _check(each: Channel | Sink, database: Database, clock: Clock) -> Check:
    part = each.plan.name if isinstance(each, Sink) else f"notifications/{each.plan.name}"

    async def run() -> Diagnosis:
        async with database.read() as connection:
            waiting = {one.channel: one for one in await outbox.backlog(connection)}.get(each.plan.name)
        found = _words(waiting, clock)
        try:
            works = await each.check()
        except NotDelivered as why:
            return Diagnosis(part, False, f"{why}{found}", "What it would tell waits meanwhile.")
        if waiting is not None and waiting.dead:
            return Diagnosis(part, False, f"{works}{found}", "See what: jit notices list --given-up")
        return Diagnosis(part, True, f"{works}{found}")

    return Check(part, run)


def _words(waiting: Backlog | None, clock: Clock) -> str:
    if waiting is None:
        return ""
    found = ""
    if waiting.pending and waiting.oldest is not None:
        found += f"; {waiting.pending} wait, the first for {(clock() - waiting.oldest).total_seconds():.0f} s"
    if waiting.dead:
        found += f"; {waiting.dead} given up"
    return f"{found}: {waiting.last_error}" if waiting.last_error else found

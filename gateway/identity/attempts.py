"""Attempts to sign in: counted before they are judged, so that many at once are no way around the waiting."""

from datetime import timedelta

from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.backoff import Rule
from gateway.identity.ports import Clock
from gateway.store import events, sign_ins
from gateway.store.database import Database, Transaction
from gateway.store.events import Event


class Attempts:
    """What `backoff` says, applied to the store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def admit_source(self, source_address: str) -> None:
        """Raises Refused RESOURCE_EXHAUSTED SIGN_IN_BACKOFF when that source has to wait."""
        key = backoff.source_key(backoff.source_of(source_address))
        async with self._database.read() as connection:
            known = await sign_ins.failures(connection, [key])
        _refuse(backoff.SOURCE.wait(known.get(key), self._clock()))

    async def admit(self, user_id: str, source_address: str) -> None:
        """Counts an attempt as failed until `forgive` says otherwise. Raises what `admit_source` does."""
        await self.admit_source(source_address)
        source = backoff.source_of(source_address)
        now = self._clock()
        async with self._database.transaction() as tx:
            rules = _user_rules(user_id, source)
            known = await sign_ins.lock_failures(tx.connection, rules)
            since = now - backoff.ACCUSTOMED_FOR
            accustomed = await sign_ins.is_accustomed(tx.connection, user_id, source, since)
            asked = {key: rule for key, rule in rules.items() if not (accustomed and rule is backoff.USER)}
            _refuse(max(rule.wait(known.get(key), now) for key, rule in asked.items()))
            for key, rule in rules.items():
                await sign_ins.set_failures(tx.connection, key, rule.after_failure(known.get(key), now))

    async def forgive(self, tx: Transaction, user_id: str, source_address: str) -> None:
        """The person was proven: what was counted against this user is void. The source's count stays, or whoever
        has one account could guess at all others for ever."""
        await sign_ins.forget_failures(tx.connection, _user_rules(user_id, backoff.source_of(source_address)))

    async def failed(self, method: str, user_id: str, source_address: str, *, exists: bool, why: str = "") -> None:
        """Counts against the source and writes the events. `user_id` is told only of users that exist: what else
        is typed into that field may be a password."""
        now = self._clock()
        source = backoff.source_of(source_address)
        async with self._database.transaction() as tx:
            key = backoff.source_key(source)
            rules = {**(_user_rules(user_id, source) if user_id else {}), key: backoff.SOURCE}
            known = await sign_ins.lock_failures(tx.connection, rules)
            known[key] = backoff.SOURCE.after_failure(known.get(key), now)
            await sign_ins.set_failures(tx.connection, key, known[key])
            await sign_ins.forget_failures_before(tx.connection, now - backoff.FORGET_AFTER)

            def event(kind: str, summary: str, **details: object) -> Event:
                subject = user_id if exists else ""
                details |= {"method": method, "why": why} if why else {"method": method}
                return Event(kind, now, subject, summary, source_address=source_address, details=details)

            who = user_id if exists else "nobody known"
            await events.append(tx.connection, event("sign_in.failed", f"Failed to sign in as {who}"))
            for name, rule in rules.items():
                wait = rule.wait(known.get(name), now)
                if wait:
                    await events.append(
                        tx.connection,
                        event(
                            "sign_in.blocked",
                            f"Signing in as {who} has to wait",
                            by=rule.name,
                            seconds=wait.total_seconds(),
                        ),
                    )


def _user_rules(user_id: str, source: str) -> dict[str, Rule]:
    return {
        backoff.user_at_source_key(user_id, source): backoff.USER_AT_SOURCE,
        backoff.user_key(user_id): backoff.USER,
    }


def _refuse(wait: timedelta) -> None:
    if wait:
        seconds = int(wait.total_seconds()) + 1
        raise Refused(
            Kind.RESOURCE_EXHAUSTED,
            "SIGN_IN_BACKOFF",
            "too many failed sign-ins",
            f"Try again in {seconds} seconds.",
            retry_after=timedelta(seconds=seconds),
        )

"""Wrong link codes, counted so that guessing gets slow (R31).

Each step runs in the transaction that judges the code: nobody learns of a wrong code before it is counted, and of
many that are typed at once each waits for its turn.
"""

from datetime import datetime, timedelta

from gateway.chat.people import source_of
from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.backoff import Rule
from gateway.store import events, sign_ins
from gateway.store.database import Transaction
from gateway.store.events import Event
from notifiers.chat import ChatPerson

BACKOFF = "LINK_BACKOFF"


async def admit(tx: Transaction, person: ChatPerson, now: datetime) -> None:
    """The person's turn, until the transaction ends. Raises Refused LINK_BACKOFF when they have to wait."""
    rules = _rules(person)
    known = await sign_ins.lock_failures(tx.connection, rules)
    wait = max(rule.wait(known.get(key), now) for key, rule in rules.items())
    if wait:
        seconds = int(wait.total_seconds()) + 1
        raise Refused(
            Kind.RESOURCE_EXHAUSTED,
            BACKOFF,
            "There were too many wrong codes.",
            f"Try again in {seconds} seconds; a code works for ten minutes.",
            retry_after=timedelta(seconds=seconds),
        )


async def failed(tx: Transaction, person: ChatPerson, now: datetime) -> None:
    """Counts a wrong code, and writes down what has to wait from now on."""
    rules = _rules(person)
    known = await sign_ins.lock_failures(tx.connection, rules)
    for key, rule in rules.items():
        counted = rule.after_failure(known.get(key), now)
        await sign_ins.set_failures(tx.connection, key, counted)
        if wait := rule.wait(counted, now):
            await events.append(tx.connection, _blocked(person, rule, wait, now))
    await sign_ins.forget_failures_before(tx.connection, now - backoff.FORGET_AFTER)


async def forgive(tx: Transaction, person: ChatPerson) -> None:
    """The person had a right code. What was counted against all stays, or whoever gets codes of their own could
    guess at those of others for ever."""
    await sign_ins.forget_failures(tx.connection, [backoff.chat_person_key(person.kind, person.key)])


def _rules(person: ChatPerson) -> dict[str, Rule]:
    return {
        backoff.chat_person_key(person.kind, person.key): backoff.CHAT_PERSON,
        backoff.chat_key(person.kind, _workspace(person)): backoff.CHAT,
    }


def _workspace(person: ChatPerson) -> str:
    return person.key.partition("/")[0]


def _blocked(person: ChatPerson, rule: Rule, wait: timedelta, now: datetime) -> Event:
    who = person.key if rule is backoff.CHAT_PERSON else f"Everybody in {_workspace(person)}"
    return Event(
        "chat.blocked",
        now,
        person.kind,
        f"{who} has to wait before linking in {person.kind}: too many wrong codes",
        source_address=source_of(person),
        details={"kind": person.kind, "key": person.key, "by": rule.name, "seconds": wait.total_seconds()},
    )

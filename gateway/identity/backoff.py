"""How failed sign-ins slow down the next ones (R31).

Failures are counted under three keys:

- the user at one source: guessing there gets slow after 3 failures, up to a quarter of an hour;
- the source, whoever is tried: so that trying one password on many users gets slow as well, after 20 failures;
- the user, from anywhere: against guessing from many sources, after 10 failures, but up to a minute only, and
  never at a source where this user has signed in within the last 90 days.

So nobody can lock a person out for good by failing in the person's name from elsewhere: at the accustomed source
the failures of others do not count at all, and at a new one a single attacking source, slow itself by then, blocks
at most one minute in fifteen. Whoever attacks from very many sources can delay a person who signs in from a new
place; that person waits out a minute, or uses the accustomed place. Failures are forgotten after a day.

Wrong link codes in a chat count under two more:

- the chat identity: after 3, up to a quarter of an hour;
- its workspace or tenant: against guessing under many identities, after 20, but up to a minute only, for everybody
  who wants to link there has to wait then. A single identity, slow itself by then, blocks them at most one minute
  in fifteen.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.store.sign_ins import Failures

FORGET_AFTER = timedelta(days=1)
ACCUSTOMED_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Rule:
    """So many failures cost nothing; each one more doubles the wait, from one second to `longest`."""

    name: str
    free: int
    longest: timedelta

    def after_failure(self, before: Failures | None, now: datetime) -> Failures:
        count = 1 if before is None or now - before.last_at > FORGET_AFTER else before.count + 1
        beyond = count - self.free
        if beyond <= 0:
            return Failures(count, now)
        wait = min(timedelta(seconds=2 ** min(beyond - 1, 20)), self.longest)
        return Failures(count, now, now + wait)

    def wait(self, known: Failures | None, now: datetime) -> timedelta:
        """How long to wait before the next try. A block that a clock made which ran back since is none."""
        if known is None or known.blocked_until is None:
            return timedelta()
        left = known.blocked_until - now
        return left if timedelta() < left <= self.longest else timedelta()


USER_AT_SOURCE = Rule("user_at_source", 3, timedelta(minutes=15))
SOURCE = Rule("source", 20, timedelta(minutes=15))
USER = Rule("user", 10, timedelta(minutes=1))
CHAT_PERSON = Rule("chat_person", 3, timedelta(minutes=15))
CHAT = Rule("chat", 20, timedelta(minutes=1))


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 network of an IPv6 address: one host can own it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)


def user_key(user_id: str) -> str:
    return f"user:{_hashed(user_id)}"


def user_at_source_key(user_id: str, source: str) -> str:
    return f"user:{_hashed(user_id)}@{source}"


def source_key(source: str) -> str:
    return f"source:{source}"


def chat_person_key(kind: str, key: str) -> str:
    return f"chat_person:{kind}:{_hashed(key)}"


def chat_key(kind: str, workspace: str) -> str:
    return f"chat:{kind}:{_hashed(workspace)}"


def _hashed(name: str) -> str:
    # A user's is whatever was typed into that field, which is sometimes a password.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:40]

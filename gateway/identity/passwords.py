"""Passwords and other secrets that people type: how they are made, hashed and checked."""

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.errors import Kind, Refused, invalid

_T = TypeVar("_T")

MINIMUM_CHARACTERS = 12
MAXIMUM_CHARACTERS = 1024
_MAXIMUM_QUEUE = 64
# Without letters and digits that look alike; 32 of them, so that each carries five bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 5, 5  # 125 bits


def new_secret() -> str:
    """A secret of 125 bits that can be read aloud: five groups of five."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def check_new(password: str, user_id: str, field: str) -> None:
    """Raises Refused INVALID_FIELD for a password that must not be chosen; `field` names where it came from."""
    if not MINIMUM_CHARACTERS <= len(password) <= MAXIMUM_CHARACTERS:
        raise invalid(field, f"must be {MINIMUM_CHARACTERS} to {MAXIMUM_CHARACTERS} characters long")
    if len(set(password)) == 1 or password.casefold() == user_id.casefold():
        raise invalid(field, "is too easy to guess", "Choose one that nobody can tell from who you are.")


class Passwords:
    """Argon2id (RFC 9106), at most `workers` at a time: each one takes 64 MiB and a core.

    The work runs in threads of its own, so a caller that goes away frees its place in the queue but never lets
    more than `workers` run at once.
    """

    def __init__(self, hasher: PasswordHasher | None = None, workers: int = 2) -> None:
        self._hasher = hasher or PasswordHasher()  # the library's default is RFC 9106's second recommendation
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._queued = 0
        self._counting = threading.Lock()
        # Verified in place of the hash that an unknown user lacks, so that the answer takes as long.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Raises Refused RESOURCE_EXHAUSTED SIGN_IN_BUSY when too many wait already."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one of the hash `stored`; None (nobody) takes as long and is False.

        Raises Refused RESOURCE_EXHAUSTED SIGN_IN_BUSY when too many wait already.
        """
        matches = await self._run(self._matches, stored or self._nobody, password)
        return matches and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., _T], *arguments: str) -> _T:
        if self._queued >= _MAXIMUM_QUEUE:
            raise Refused(
                Kind.RESOURCE_EXHAUSTED,
                "SIGN_IN_BUSY",
                "too many people are signing in at this moment",
                "Try again in a second.",
                retry_after=timedelta(seconds=1),
            )
        with self._counting:
            self._queued += 1
        future = self._threads.submit(work, *arguments)
        future.add_done_callback(self._done)  # also when it is cancelled before it began
        return await asyncio.wrap_future(future)

    def _done(self, _future: "Future[Any]") -> None:
        with self._counting:
            self._queued -= 1

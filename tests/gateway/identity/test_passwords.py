import asyncio
import threading
from collections.abc import Iterator
from typing import Literal

import argon2
import pytest

from gateway.errors import Refused
from gateway.identity.passwords import Passwords, check_new, new_secret


class Held(argon2.PasswordHasher):
    """Hashes when it is let go, and knows how many do so at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.counting = threading.Lock()
        self.running = self.most = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002  # the library's name
        with self.counting:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(30)
        with self.counting:
            self.running -= 1
        return True


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    built = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield built
    built.close()


async def test_the_right_password_matches_and_nothing_else_does(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "correct horse battery")
    assert not await passwords.verify(stored, "correct horse batterY")
    assert not await passwords.verify("no hash", "correct horse battery")
    assert not await passwords.verify(None, "correct horse battery")
    assert await passwords.hash("correct horse battery") != stored


async def test_a_hash_of_other_parameters_is_outdated(passwords: Passwords) -> None:
    assert not passwords.is_outdated(await passwords.hash("a"))
    assert passwords.is_outdated(argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash("a"))


async def test_so_many_at_once_the_rest_waits_and_too_many_are_sent_away() -> None:
    hasher = Held()
    passwords = Passwords(hasher, workers=2)
    try:
        waiting = [asyncio.create_task(passwords.verify("x", "y")) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await passwords.verify("x", "y")
        assert caught.value.reason == "SIGN_IN_BUSY"
        assert caught.value.retry_after is not None
        for task in waiting[10:]:
            task.cancel()  # those that hung up free their places
        hasher.go.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert hasher.most == 2
        assert await passwords.verify("x", "y")
    finally:
        hasher.go.set()
        passwords.close()


def test_new_secrets_can_be_read_aloud_and_do_not_repeat() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == 29 and not set(secret) & set("lo01") for secret in made)


@pytest.mark.parametrize("password", ["a" * 11, "x" * 1025, "aaaaaaaaaaaaaaa", "Alice@example.com"])
def test_passwords_that_must_not_be_chosen(password: str) -> None:
    with pytest.raises(Refused) as caught:
        check_new(password, "alice@example.com", "new_password")
    assert caught.value.reason == "INVALID_FIELD"
    assert password not in str(caught.value)


def test_a_good_password_may_be_chosen() -> None:
    check_new("correct horse", "alice", "new_password")
    check_new("пароль из двенадцати", "alice", "new_password")

"""What every key provider must do. A new one joins by a maker in `MAKERS`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.errors import KeyRefused
from recorder.key_providers.local_file import LocalKeyFile
from recorder.ports import KeyProvider
from tests.aws.making import new_kms

CONTEXT = {"session": "s-1", "account": "default"}

Maker = Callable[[pytest.FixtureRequest, Path], AbstractAsyncContextManager[KeyProvider]]
"""An open provider with keys of its own; the folder is empty, the request gives the fixtures that it needs."""


@contextlib.asynccontextmanager
async def local_file(_: pytest.FixtureRequest, folder: Path) -> AsyncIterator[KeyProvider]:
    yield LocalKeyFile.create(folder / "keys")


@contextlib.asynccontextmanager
async def aws_kms(request: pytest.FixtureRequest, _: Path) -> AsyncIterator[KeyProvider]:
    request.getfixturevalue("aws_environment")
    async with new_kms(request.getfixturevalue("moto")) as made:
        yield made


MAKERS: list[Maker] = [local_file, aws_kms]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyProvider]:
    async with request.param(request, tmp_path) as made:
        yield made


async def test_a_data_key_says_who_wrapped_it(keys: KeyProvider) -> None:
    assert (await keys.generate_data_key(CONTEXT)).provider in {"local-file", "aws-kms"}


async def test_a_data_key_comes_back(keys: KeyProvider) -> None:
    key = await keys.generate_data_key(CONTEXT)
    assert len(key.plaintext) == 32
    assert await keys.unwrap(key.wrapped, dict(reversed(CONTEXT.items()))) == key.plaintext


async def test_no_two_data_keys_are_alike(keys: KeyProvider) -> None:
    made = [await keys.generate_data_key(CONTEXT) for _ in range(5)]
    assert len({key.plaintext for key in made}) == len({key.wrapped for key in made}) == 5


async def test_the_key_is_not_in_its_wrapping_nor_in_a_log(keys: KeyProvider) -> None:
    key = await keys.generate_data_key(CONTEXT)
    assert key.plaintext not in key.wrapped
    assert repr(key.plaintext) not in repr(key)


@pytest.mark.parametrize(
    "other",
    [{}, {"session": "s-2", "account": "default"}, {"session": "s-1"}, {**CONTEXT, "more": "x"}],
)
async def test_another_context_is_refused(keys: KeyProvider, other: dict[str, str]) -> None:
    key = await keys.generate_data_key(CONTEXT)
    with pytest.raises(KeyRefused):
        await keys.unwrap(key.wrapped, other)


async def test_a_damaged_wrapping_is_refused(keys: KeyProvider) -> None:
    wrapped = (await keys.generate_data_key(CONTEXT)).wrapped
    for at in range(len(wrapped)):
        with pytest.raises(KeyRefused):
            await keys.unwrap(wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], CONTEXT)
    for cut in (b"", wrapped[:-1], wrapped + b"x", wrapped * 100):
        with pytest.raises(KeyRefused):
            await keys.unwrap(cut, CONTEXT)


# What the provider holds does not change from one example to the next.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=200))
async def test_garbage_is_refused(keys: KeyProvider, garbage: bytes) -> None:
    with pytest.raises(KeyRefused):
        await keys.unwrap(garbage, CONTEXT)


@pytest.mark.parametrize("other", MAKERS, ids=lambda maker: maker.__name__)
async def test_another_provider_does_not_open_it(
    keys: KeyProvider, other: Maker, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with other(request, tmp_path / "other") as made:
        wrapped = (await made.generate_data_key(CONTEXT)).wrapped
    with pytest.raises(KeyRefused):
        await keys.unwrap(wrapped, CONTEXT)

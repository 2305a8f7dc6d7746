"""What every key provider must do. A new one joins by a maker in `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.errors import KeyRefused
from recorder.key_providers.local_file import LocalKeyFile
from recorder.ports import KeyProvider

CONTEXT = {"session": "s-1", "account": "default"}


def local_file(folder: Path) -> KeyProvider:
    return LocalKeyFile.create(folder / "keys")


MAKERS: list[Callable[[Path], KeyProvider]] = [local_file]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> KeyProvider:
    made: KeyProvider = request.param(tmp_path)
    return made


async def test_it_has_a_name(keys: KeyProvider) -> None:
    assert keys.name


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


@settings(max_examples=30, deadline=None)
@given(garbage=st.binary(max_size=200))
async def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    for make in MAKERS:
        with pytest.raises(KeyRefused):
            await make(tmp_path_factory.mktemp("keys")).unwrap(garbage, CONTEXT)


async def test_another_provider_of_the_kind_does_not_open_it(keys: KeyProvider, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for make in MAKERS:
        wrapped = (await make(tmp_path / "other").generate_data_key(CONTEXT)).wrapped
        with pytest.raises(KeyRefused):
            await keys.unwrap(wrapped, CONTEXT)

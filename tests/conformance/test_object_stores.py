"""What every object store must do. A new one joins by a maker in `MAKERS`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from recorder.errors import ChecksumMismatch, ObjectConflict, ObjectMissing, RefusedName
from recorder.object_stores.local_folder import LocalFolder
from recorder.ports import ObjectStore, Receipt
from tests.aws.making import new_store

Maker = Callable[[pytest.FixtureRequest, Path], AbstractAsyncContextManager[ObjectStore]]
"""An open, empty store; the folder is empty, the request gives the fixtures that it needs."""


@contextlib.asynccontextmanager
async def local_folder(_: pytest.FixtureRequest, folder: Path) -> AsyncIterator[ObjectStore]:
    yield LocalFolder(folder / "objects")


@contextlib.asynccontextmanager
async def s3(request: pytest.FixtureRequest, _: Path) -> AsyncIterator[ObjectStore]:
    request.getfixturevalue("aws_environment")
    async with new_store(request.getfixturevalue("moto"), prefix="jitgate/recordings/") as store:
        yield store


@contextlib.asynccontextmanager
async def s3_without_conditional_put(request: pytest.FixtureRequest, _: Path) -> AsyncIterator[ObjectStore]:
    request.getfixturevalue("aws_environment")
    async with new_store(request.getfixturevalue("rclone").address, conditional_put=False) as store:
        yield store


MAKERS: list[Maker] = [local_folder, s3, s3_without_conditional_put]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with request.param(request, tmp_path) as made:
        yield made


async def put(store: ObjectStore, name: str, data: bytes) -> Receipt:
    return await store.put_if_absent(name, data, hashlib.sha256(data).hexdigest())


async def names(store: ObjectStore, prefix: str) -> list[str]:
    return [found.name async for found in store.list(prefix)]


async def test_what_is_put_is_got(store: ObjectStore) -> None:
    data = bytes(range(256)) * 5000
    receipt = await put(store, "a/b/c.seg", data)
    assert receipt == Receipt("a/b/c.seg", len(data), hashlib.sha256(data).hexdigest(), created=True)
    assert await store.get("a/b/c.seg") == data


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    assert (await put(store, "empty", b"")).created
    assert await store.get("empty") == b""


async def test_the_same_again_is_a_success(store: ObjectStore) -> None:
    await put(store, "a", b"same")
    assert not (await put(store, "a", b"same")).created


async def test_nothing_is_ever_replaced(store: ObjectStore) -> None:
    await put(store, "a", b"first")
    for other in (b"other", b"", b"first and more"):
        with pytest.raises(ObjectConflict):
            await put(store, "a", other)
    assert await store.get("a") == b"first"


async def test_of_many_at_once_one_wins(store: ObjectStore) -> None:
    tries = [put(store, "raced", bytes([number]) * 1000) for number in range(8)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    won = [each for each in done if isinstance(each, Receipt)]
    assert len(won) == 1, done
    assert sum(isinstance(each, ObjectConflict) for each in done) == 7, done
    assert hashlib.sha256(await store.get("raced")).hexdigest() == won[0].sha256


async def test_a_wrong_checksum_keeps_nothing(store: ObjectStore) -> None:
    with pytest.raises(ChecksumMismatch):
        await store.put_if_absent("a", b"data", hashlib.sha256(b"other").hexdigest())
    assert await names(store, "") == []


async def test_what_is_not_there_is_missing(store: ObjectStore) -> None:
    await put(store, "a/b", b"x")
    for name in ("nowhere", "a", "a/b/c", "a/bb"):
        with pytest.raises(ObjectMissing):
            await store.get(name)
        with pytest.raises(ObjectMissing):
            await store.get_range(name, 0, 1)
        await store.delete(name)
    assert await store.get("a/b") == b"x"


async def test_ranges(store: ObjectStore) -> None:
    await put(store, "a", b"0123456789")
    assert await store.get_range("a", 2, 3) == b"234"
    assert await store.get_range("a", 8, 5) == b"89"
    assert await store.get_range("a", 20, 5) == b""
    assert await store.get_range("a", 3, 0) == b""
    for start, length in ((-1, 2), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            await store.get_range("a", start, length)


async def test_a_listing_is_in_order_and_by_prefix(store: ObjectStore) -> None:
    for name in ("b/2", "a/1/x", "a/10", "a.b", "a/1/y"):
        await put(store, name, name.encode())
    assert await names(store, "") == ["a.b", "a/1/x", "a/1/y", "a/10", "b/2"]
    assert await names(store, "a/1") == ["a/1/x", "a/1/y", "a/10"]
    assert await names(store, "a/1/") == ["a/1/x", "a/1/y"]
    assert await names(store, "none/") == []
    assert [found.size async for found in store.list("b/")] == [3]


async def test_what_is_deleted_is_gone(store: ObjectStore) -> None:
    await put(store, "a/b", b"x")
    await store.delete("a/b")
    await store.delete("a/b")
    with pytest.raises(ObjectMissing):
        await store.get("a/b")
    assert (await put(store, "a/b", b"other")).created


@pytest.mark.parametrize(
    "name",
    [
        *["", "/", "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "a/", ".hidden", "a/.b"],
        *["a\x00b", "a\\b", "ä", "a b", "a\n", "x" * 201, "/".join("a" * 17)],
    ],
)
async def test_names_that_lead_elsewhere_are_refused(store: ObjectStore, name: str) -> None:
    with pytest.raises(RefusedName):
        await put(store, name, b"x")
    with pytest.raises(RefusedName):
        await store.get(name)
    with pytest.raises(RefusedName):
        await store.get_range(name, 0, 1)
    with pytest.raises(RefusedName):
        await store.delete(name)
    if name not in ("", "a/"):
        with pytest.raises(RefusedName):
            await names(store, name)

"""What only the local key file, the local signer and the local folder have: files, permissions, rotation."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from recorder.errors import KeyRefused, ObjectMissing, StoreUnavailable
from recorder.key_providers.local_file import LocalKeyFile
from recorder.object_stores.local_folder import LocalFolder
from recorder.signing import LocalSigner

CONTEXT = {"session": "s-1"}


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    LocalKeyFile.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        LocalKeyFile.create(path)
    for mode in (0o640, 0o604, 0o660, 0o777):
        path.chmod(mode)
        with pytest.raises(KeyRefused, match="chmod 600"):
            LocalKeyFile(path)


@pytest.mark.parametrize("create", [LocalKeyFile.create, LocalSigner.create])
def test_a_process_that_dies_while_it_makes_a_key_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: Callable[[Path], object]
) -> None:
    def dies(_: int) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", dies)
        with pytest.raises(SystemExit):
            create(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()
    create(tmp_path / "keys")


async def test_a_rotated_file_opens_the_old_and_wraps_with_the_new(tmp_path: Path) -> None:
    first = LocalKeyFile.create(tmp_path / "keys")
    old = await first.generate_data_key(CONTEXT)
    second = LocalKeyFile.rotate(tmp_path / "keys")
    new = await second.generate_data_key(CONTEXT)
    assert first.key_id != second.key_id
    assert await second.unwrap(old.wrapped, CONTEXT) == old.plaintext
    with pytest.raises(KeyRefused, match=f"no key {second.key_id}"):
        await first.unwrap(new.wrapped, CONTEXT)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    "text", ["", "\n", "x", "0123456789abcdef short", f"{'0' * 16} {'A' * 43}", f"{'0' * 16} {'A' * 44}", "\xff"]
)
def test_a_malformed_key_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(KeyRefused):
        LocalKeyFile(path)


def test_a_key_file_with_a_repeated_id_or_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    LocalKeyFile.create(path)
    line = path.read_bytes()
    path.write_bytes(line + line)
    with pytest.raises(KeyRefused, match="line 2"):
        LocalKeyFile(path)
    path.write_bytes(line * 30_000)
    with pytest.raises(KeyRefused, match="too long"):
        LocalKeyFile(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="no key file"):
        LocalKeyFile(tmp_path / "nowhere")
    with pytest.raises(KeyRefused, match="no regular file"):
        LocalKeyFile(Path("/dev/null"))


async def test_a_signing_key_comes_back(tmp_path: Path) -> None:
    made = LocalSigner.create(tmp_path / "key.pem")
    loaded = LocalSigner.load(tmp_path / "key.pem")
    assert (loaded.key_id, loaded.public_key) == (made.key_id, made.public_key)
    assert await loaded.sign(b"x") == await made.sign(b"x")
    assert "PUBLIC" in made.public_pem
    with pytest.raises(FileExistsError):
        LocalSigner.create(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod"):
        LocalSigner.load(tmp_path / "key.pem")


def test_another_kind_of_key_does_not_sign(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (pem, b"garbage"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyRefused):
            LocalSigner.load(path)


async def test_a_put_that_dies_leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalFolder(tmp_path / "objects")
    digest = hashlib.sha256(b"data").hexdigest()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StoreUnavailable, match="No space"):
            await store.put_if_absent("a/b", b"data", digest)
    with pytest.raises(ObjectMissing):
        await store.get("a/b")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (await store.put_if_absent("a/b", b"data", digest)).created


async def test_objects_are_made_durable_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def noted_fsync(fd: int) -> None:
        steps.append("fsync")
        fsync(fd)

    def noted_link(source: str, target: str) -> None:
        steps.append("link")
        link(source, target)

    monkeypatch.setattr("os.fsync", noted_fsync)
    monkeypatch.setattr("os.link", noted_link)
    store = LocalFolder(tmp_path)
    await store.put_if_absent("a", b"data", hashlib.sha256(b"data").hexdigest())
    assert steps == ["fsync", "link", "fsync"]


async def test_what_others_leave_beside_is_not_listed(tmp_path: Path) -> None:
    store = LocalFolder(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".0011").write_bytes(b"half written")
    (tmp_path / "x" / "odd name").write_bytes(b"")
    assert [found async for found in store.list("")] == []


async def test_several_stores_share_a_folder(tmp_path: Path) -> None:
    stores = [LocalFolder(tmp_path / "new" / "root") for _ in range(4)]
    digest = hashlib.sha256(b"x").hexdigest()
    receipts = await asyncio.gather(*(each.put_if_absent("a/b/c", b"x", digest) for each in stores))
    assert sum(receipt.created for receipt in receipts) == 1


async def test_what_a_killed_put_left_goes_with_the_last_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds what the objects hold, so it must not outlive them."""
    store, folder = LocalFolder(tmp_path), tmp_path / "a"
    checksum = hashlib.sha256(b"data").hexdigest()
    for name in ("a/one", "a/two"):
        await store.put_if_absent(name, b"data", checksum)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # it died before this
        await store.put_if_absent("a/three", b"data", checksum)
    assert len(list(folder.iterdir())) == 4
    await store.delete("a/one")
    await store.delete("a/two")
    assert len(list(folder.iterdir())) == 2
    await store.delete("a/three")
    assert list(folder.iterdir()) == []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        await store.put_if_absent("a/four", b"data", checksum)
    (folder / "four").unlink()  # and whoever deleted died between the two
    await store.delete("a/four")
    assert list(folder.iterdir()) == []
    await store.delete("nowhere/five")

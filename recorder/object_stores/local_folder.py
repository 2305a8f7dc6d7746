"""Objects as files below one folder: the embedded default.

An object is written beside its place, made durable, checked by reading it again, and then linked under its name:
the link fails where the name is taken, so a put is all or nothing and never replaces anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from recorder.errors import ChecksumMismatch, ObjectConflict, ObjectMissing, StoreUnavailable
from recorder.object_names import check_name, check_prefix, is_name
from recorder.ports import ObjectInfo, Receipt
from recorder.syncing import sync_folder

_BLOCK: Final = 1024 * 1024
_BESIDE: Final = re.compile(r"\.[0-9a-f]{16}")
"""What an object is called until it has its name."""


class LocalFolder:
    """An object store in `root`, which is made where it is missing. Several processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        return await asyncio.to_thread(self._put, self._path(name), name, data, sha256)

    async def get(self, name: str) -> bytes:
        return await asyncio.to_thread(self._read, self._path(name), name, 0, -1)

    async def get_range(self, name: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ValueError("a range starts at 0 or later and has no negative length")
        return await asyncio.to_thread(self._read, self._path(name), name, start, length)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for found in await asyncio.to_thread(self._walk, check_prefix(prefix)):
            yield found

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._unlink, self._path(name), name)

    def _path(self, name: str) -> Path:
        return self._root / check_name(name)

    def _put(self, path: Path, name: str, data: bytes, sha256: str) -> Receipt:
        beside = path.with_name(f".{secrets.token_hex(8)}")
        try:
            self._make_folders(path.parent)
            created = self._link(beside, path, name, data, sha256)
        except OSError as failure:
            raise StoreUnavailable(f"{name} cannot be stored: {failure}") from failure
        return Receipt(name, len(data), sha256, created)

    def _link(self, beside: Path, path: Path, name: str, data: bytes, sha256: str) -> bool:
        try:
            _write_durably(beside, data)
            if _digest(beside) != sha256:
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise ChecksumMismatch(f"what was to become {name} is not what its checksum says")
                raise StoreUnavailable(f"{name} was written and reads otherwise; look at the disk")
            try:
                os.link(beside, path)
            except FileExistsError:
                if _digest(path) != sha256:
                    raise ObjectConflict(f"{name} is taken by an object with other content") from None
                sync_folder(path.parent)
                return False
            sync_folder(path.parent)
            return True
        finally:
            beside.unlink(missing_ok=True)

    def _make_folders(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self._root:
            self._make_folders(folder.parent)
        folder.mkdir(mode=0o700, parents=folder == self._root, exist_ok=True)
        sync_folder(folder.parent)

    def _read(self, path: Path, name: str, start: int, length: int) -> bytes:
        try:
            with open(path, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ObjectMissing(f"there is no object {name}, but a pipe or a device")
                file.seek(start)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(f"there is no object {name}") from None
        except OSError as failure:
            raise StoreUnavailable(f"{name} cannot be read: {failure}") from failure

    def _walk(self, prefix: str) -> Sequence[ObjectInfo]:
        top = self._root / prefix.rpartition("/")[0]
        found = []
        try:
            for folder, _, files in os.walk(top):
                for file in files:
                    path = Path(folder, file)
                    name = path.relative_to(self._root).as_posix()
                    if name.startswith(prefix) and is_name(name):
                        found.append(ObjectInfo(name, path.stat().st_size))
        except OSError as failure:
            raise StoreUnavailable(f"{prefix} cannot be listed: {failure}") from failure
        return sorted(found, key=lambda each: each.name)

    def _unlink(self, path: Path, name: str) -> None:
        try:
            path.unlink(missing_ok=True)
            _tidy(path.parent)
            sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as failure:
            raise StoreUnavailable(f"{name} cannot be deleted: {failure}") from failure


def _open_at_once(path: str, flags: int) -> int:
    """Else a pipe that somebody laid there is waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _tidy(folder: Path) -> None:
    """With the last object goes what killed puts have left. A put that is under way fails, and is tried again."""
    left = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _BESIDE.fullmatch(entry.name):
                return
            left.append(entry.path)
    for path in left:
        Path(path).unlink(missing_ok=True)


def _write_durably(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        if hasattr(os, "posix_fadvise"):  # nobody reads it soon: the system's cache has better use for the room
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()

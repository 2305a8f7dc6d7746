"""Files with keys in them: whole or not there, and their owner's alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from recorder.errors import KeyRefused, KeyUnavailable
from recorder.syncing import sync_folder


def create_secret(path: Path, data: bytes) -> None:
    """A new file, durable when this returns, or none. FileExistsError where there is one."""
    beside = _write_beside(path, data)
    try:
        os.link(beside, path)
    finally:
        beside.unlink()
    sync_folder(path.parent)


def replace_secret(path: Path, data: bytes) -> None:
    """The file with other content: the old one or the new one, whenever this is killed."""
    _write_beside(path, data).replace(path)
    sync_folder(path.parent)


def _write_beside(path: Path, data: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return beside


def read_secret(path: Path, limit: int) -> bytes:
    """The bytes of a file that only its owner may read. Raises KeyRefused, KeyUnavailable."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyRefused(f"{path} is no regular file")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise KeyRefused(f"{path} is open to others (mode {mode:04o}); do: chmod 600 {path}")
            if status.st_uid not in (os.geteuid(), 0):
                raise KeyRefused(f"{path} belongs to user {status.st_uid}; it must be ours or root's")
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise KeyRefused(f"there is no key file {path}") from None
    except OSError as failure:
        raise KeyUnavailable(f"{path} cannot be read: {failure.strerror}") from None
    if len(data) > limit:
        raise KeyRefused(f"{path} is too long for a key file")
    return data

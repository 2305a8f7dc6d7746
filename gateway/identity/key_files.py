"""Private keys on disk: readable by the gateway's user alone, written whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_MAXIMUM_BYTES = 64 * 1024


class KeyFileUnusable(Exception):
    """A key file or its folder that must not be trusted as it is. The text says what to do."""


def load_or_create(path: Path, create: Callable[[], bytes]) -> bytes:
    """The content of `path`, made by `create` when there is none yet.

    When several processes start at once, one content wins and all of them get it. Raises KeyFileUnusable for a
    folder or file that others can read, that belongs to somebody else, or that is no regular file.
    """
    _check_folder(path.parent)
    if not path.exists():
        _place(path, create())
    return _read(path)


def _check_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise KeyFileUnusable(f"{folder} is open to other users of this host. Run: chmod 700 {folder}")
    _check_owner(folder, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {os.geteuid(), 0}:
        raise KeyFileUnusable(f"{path} belongs to user {found.st_uid}. Run: chown {os.geteuid()} {path}")


def _place(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename it never replaces a key that another process just placed
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileUnusable(f"{path} is no regular file. Move it away; the gateway then makes a new key")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileUnusable(f"{path} can be read by other users of this host. Run: chmod 600 {path}")
        _check_owner(path, found)
        if found.st_size > _MAXIMUM_BYTES:
            raise KeyFileUnusable(f"{path} is too large for a key. Restore it from its backup")
        return file.read()

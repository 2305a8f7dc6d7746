"""How much room the spool has left: by its quota, and by what must stay free on its disk."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOST_RESERVE: Final = 1 << 30
_MOST_SHARE: Final = 1 << 20
_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Quota:
    """What the spool may take, in bytes; `size` None: half of its disk. `free` must stay free on the disk.

    A recording that is held back for `patience_seconds` fails.
    """

    size: int | None = None
    free: int = 0
    patience_seconds: float = 300.0


class Room:
    """Counts what this process writes at once, and looks at the whole spool now and then.

    Belongs to one event loop. Crowded is a spool with less left than its reserve (a fifth of what it may take, at
    most 1 GiB): no recording begins, and one that has more than its share in the spool is held back meanwhile.
    """

    def __init__(self, spool: Path, quota: Quota) -> None:
        self.left: int = quota.size or 1 << 62
        """Bytes that may still be written; once there are none, no data is taken."""
        self.is_crowded = False
        self.used = 0
        """Bytes in the spool, of all processes, as last seen."""
        self._limited_to(self.left)
        self.free = 0
        """Bytes free on the disk, as last seen."""
        self._spool = spool
        self._quota = quota
        self._since = 0
        self._measuring = asyncio.Lock()

    @property
    def patience_seconds(self) -> float:
        return self._quota.patience_seconds

    def take(self, size: int) -> None:
        """So much was written."""
        self.left -= size
        self._since += size
        if self.left < self.reserve:
            self.is_crowded = True

    def give(self, size: int) -> None:
        """So much was removed."""
        self.left += size
        self._judge()

    async def measure(self) -> None:
        """Looks at the disk. Raises OSError; then what was last seen still counts."""
        async with self._measuring:
            await self._measure()

    async def _measure(self) -> None:
        self._since = 0
        used, disk, free = await asyncio.to_thread(_measured, self._spool)
        self.used, self.free = used, free
        size = disk // 2 if self._quota.size is None else self._quota.size
        self._limited_to(min(size, disk - self._quota.free))
        # What was written meanwhile may be in it or not.
        self.left = min(self.limit - used, free - self._quota.free) - self._since
        self._judge()

    def __str__(self) -> str:
        what = "full" if self.left <= 0 else "nearly full" if self.is_crowded else "not full"
        return (
            f"the spool is {what}: {_said(self.limit)} are for it, {_said(max(0, self.left))} of that are left, "
            f"{_said(self.free)} of its disk are free"
        )

    def _limited_to(self, limit: int) -> None:
        self.limit = limit
        self.reserve = min(limit // 5, _MOST_RESERVE)
        self.share = min(limit // 64, _MOST_SHARE)
        """What each recording may have in a crowded spool without being held back."""

    def _judge(self) -> None:
        """It stays crowded until there is clearly more room than made it so."""
        self.is_crowded = self.left < self.reserve * (1.5 if self.is_crowded else 1)


def _said(size: int) -> str:
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _measured(spool: Path) -> tuple[int, int, int]:
    """Bytes in the spool, size of its disk, bytes free there."""
    disk = os.statvfs(spool)
    return _size(spool), disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize


def _size(folder: Path | str) -> int:
    """What vanishes meanwhile is not counted."""
    total = 0
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size(entry.path)
                continue
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total

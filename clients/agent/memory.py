"""How the C library keeps memory that was used: by itself, megabytes for what sessions said long ago."""

import asyncio
import ctypes
from typing import Any

_SETTLES_SECONDS = 1.0
# malloc.h of glibc; other libraries have none of it.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MIB = 1 << 20


def share() -> None:
    """One heap for all threads, to be called while there is one.

    And one that does not shrink and grow with each piece of output: new pages cost a fifth of the time.
    """
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, 4 * _MIB)
        mallopt(_M_MMAP_THRESHOLD, _MIB)


class Spare:
    """What sessions have left behind."""

    def __init__(self) -> None:
        self._later: asyncio.TimerHandle | None = None

    def give_back(self) -> None:
        """To the machine; soon, and once for sessions that end together."""
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_SETTLES_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._later = None
        if (trim := _function("malloc_trim")) is not None:
            trim(0)


def _function(name: str) -> Any:
    """Of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None)

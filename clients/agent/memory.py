"""How the C library keeps memory that was used: by itself, megabytes for what sessions said long ago."""

import asyncio
import ctypes
from typing import Any

_SETTLES_SECONDS = 1.0
_M_ARENA_MAX = -8  # malloc.h of glibc; other libraries have neither function


def share() -> None:
    """One heap for all threads. To be called while there is one."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)


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

"""How the process holds on to memory, and when it looks for garbage."""

import ctypes
import gc
import sys
from typing import Final

# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_BLOCK: Final = 32 << 20
"""The largest that glibc takes; a recording's segments are worked on in blocks of 8 MiB."""
_KEPT: Final = 64 << 20


def keep_freed_blocks() -> None:
    """Lets large blocks be used again instead of giving each back to the system; does nothing without glibc.

    A recording in full flow allocates and frees buffers of 8 MiB all the time. By default each one is mapped,
    filled with zeroes page by page and unmapped again, which costs a fifth of the gateway's CPU time and halts its
    other threads meanwhile. In exchange up to 64 MiB that are free may stay with the process.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def keep_what_is_there() -> None:
    """From now on what there is does not count when garbage is looked for.

    Without that a server with hundreds of thousands of objects, all of which stay, halts every session for a fifth
    of a second whenever Python goes through them, as once or twice a minute.
    """
    gc.collect()
    gc.freeze()

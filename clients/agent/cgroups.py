"""A control group for each session, where this machine and the agent's rights allow it (Linux, cgroup v2)."""

import contextlib
import os
from pathlib import Path


class SessionGroups:
    """Makes groups beneath the agent's own. The supervisor that uses one removes it."""

    def __init__(self) -> None:
        self._parent = _own_group() if os.geteuid() == 0 else None

    def make(self, session_id: str) -> str:
        """The folder of a new group; "" where there can be none."""
        if self._parent is None:
            return ""
        folder = self._parent / f"jitgate-{session_id}-{os.urandom(4).hex()}"
        try:
            folder.mkdir()
        except OSError:
            return ""
        return str(folder)

    def remove(self, folder: str) -> None:
        """One that nobody came to use."""
        if folder:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _own_group() -> Path | None:
    """The agent's own cgroup v2 folder, if groups can be made in it."""
    try:
        own = next(
            line[3:] for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines() if line[:3] == "0::"
        )
        mounted = next(
            fields[4]
            for fields in map(str.split, Path("/proc/self/mountinfo").read_text("utf-8").splitlines())
            if fields[fields.index("-") + 1] == "cgroup2"
        )
    except (OSError, StopIteration, ValueError):
        return None
    folder = Path(mounted) / own.lstrip("/")
    return folder if os.access(folder / "cgroup.procs", os.W_OK) else None

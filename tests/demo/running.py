"""What a demo left running: written down as it starts, ended by process id and start time, never by name."""

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.sshd import descendants

_GRACE_SECONDS = 20.0


@dataclass
class Running:
    """The record in `file`. A process id that somebody else has by now is left alone: its start time differs."""

    file: Path
    _processes: list[dict[str, int]] = field(default_factory=list)
    _folders: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path) -> "Running":
        """What the demo before this one wrote down; nothing where there was none."""
        if not file.exists():
            return cls(file)
        said = json.loads(file.read_text())
        return cls(file, said["processes"], said["folders"])

    def add(self, process: int, folder: Path | None = None) -> None:
        """Notes a process, and a folder that goes when it ends. Those that have ended are forgotten."""
        self._processes = [noted for noted in self._processes if _started(noted["id"]) == noted["started"]]
        self._processes.append({"id": process, "started": _started(process)})
        self._folders += [str(folder)] if folder else []
        self.file.write_text(json.dumps({"processes": self._processes, "folders": self._folders}))

    def stop(self) -> int:
        """Ends everything that is noted, the first first; how many processes that were."""
        alive = [noted["id"] for noted in self._processes if _started(noted["id"]) == noted["started"]]
        for process in alive:
            # Sessions on an sshd are its children, each in a process group of its own.
            family = [process, *descendants(process)]
            for member in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGTERM)
            _wait_for_end(process)
            for member in family[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._processes, self._folders = [], []
        self.file.unlink(missing_ok=True)
        return len(alive)


def _started(process: int) -> int:
    """When a process began, in ticks since this machine did; -1 where there is no such process any more."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] == "Z" else int(fields[19])


def _wait_for_end(process: int) -> None:
    began = _started(process)
    deadline = time.monotonic() + _GRACE_SECONDS
    while began != -1 and _started(process) == began:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.05)

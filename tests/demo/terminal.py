"""Somebody at a terminal: `jit` under a pseudo-terminal, typed at as a person would."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE_SECONDS = 30.0
_QUIET_SECONDS = 0.4


class Terminal:
    """A process whose input and output are a terminal."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", *command], stdin=slave, stdout=slave, stderr=slave, env=dict(environment)
        )
        os.close(slave)
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def waits_for_prompt(self) -> None:
        """Until something was printed and nothing more follows: whatever the prompt of this login looks like."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._reads(_QUIET_SECONDS) or not self._seen:
            self._in_time(deadline, "the shell's prompt")

    def types(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\r")

    def sees(self, text: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while text.encode() not in self._seen:
            self._reads(0.2)
            self._in_time(deadline, repr(text))

    def ends(self) -> int:
        """Reads to the end; the exit code."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.process.poll() is None:
            self._reads(0.05)
            self._in_time(deadline, "the end")
        while self._reads(0.05):
            pass
        return self.process.wait()

    def takes(self) -> str:
        """What was printed since it was last taken."""
        taken, self._seen = self._seen, b""
        return taken.decode(errors="replace")

    def _reads(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        data = b""
        with suppress(OSError):  # the other side is gone
            data = os.read(self._master, 65_536)
        self._seen += data
        return bool(data)

    def _in_time(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come; the terminal shows {self._seen.decode(errors='replace')!r}")

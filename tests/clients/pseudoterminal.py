"""A person at a terminal: the real command line under a pseudo-terminal."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 30.0


class Person:
    """Runs `jit …` on a terminal of its own; types, reads the screen, resizes, hangs up."""

    def __init__(self, *arguments: str, environment: dict[str, str], columns: int = 80, rows: int = 24) -> None:
        self._screen, self.terminal = os.openpty()
        self.resize(columns, rows)
        self.seen = b""
        # setsid -c makes the terminal the controlling one, as a login does.
        command = ["setsid", "-c", "-w", sys.executable, "-m", "clients.cli", *arguments]
        self.process = subprocess.Popen(
            command, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in (self._screen, self.terminal):
            with suppress(OSError):
                os.close(descriptor)

    def type(self, text: str | bytes) -> None:
        os.write(self._screen, text.encode() if isinstance(text, str) else text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[object]:
        """The terminal's attributes, to compare."""
        return list(termios.tcgetattr(self.terminal))

    def waits_for(self, text: str | bytes) -> bytes:
        """Reads until the text has been on the screen since the last wait; what was read."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + PATIENCE_SECONDS
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{wanted!r} did not come; last the screen had {self.seen[-2000:]!r}")
        before, _, self.seen = self.seen.partition(wanted)
        return before + wanted

    def ends(self) -> int:
        """Reads to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.wait(1)

    def signal(self, number: signal.Signals) -> None:
        """To jit itself, not to setsid."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        os.kill(int(children[0]) if children else self.process.pid, number)

    def _read(self, timeout: float) -> bool:
        if not select.select([self._screen], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._screen, 65_536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

"""A real `jit shell` on a terminal of its own: what came out of it goes to a file, numbered lines go in."""

import os
import pty
import re
import subprocess
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.processes import BIN

PROGRAM = Path(__file__).with_name("program.py")
QUIT = b"quit\n"
_AT_ONCE = 1 << 16
_LONGEST_PENDING = 1 << 18
_PASTES = 0.02  # of all lines


@dataclass(frozen=True)
class Pace:
    """How busy a shell is: what its program prints, and how often somebody types."""

    pause_ms: float
    typing_seconds: float
    burst_kib: int = 0
    burst_seconds: float = 1e9


STEADY = Pace(pause_ms=40, typing_seconds=0.3)
QUICK = Pace(pause_ms=4, typing_seconds=0.1)
BURSTING = Pace(pause_ms=50, typing_seconds=0.3, burst_kib=3 << 10, burst_seconds=12.0)
"""More at once than an agent keeps for one session."""


class Shell:
    """Files of its own are `<folder>/<name>.seen` (output), `.typed` (input), `.told` (what jit said itself)."""

    def __init__(
        self, name: str, node: str, pace: Pace, folder: Path, environment: Mapping[str, str], random: Random
    ) -> None:
        self.name = name
        self.pace = pace
        self.folder = folder
        self.typed_lines = 0
        self.taken_lines = 0
        """So many of them the last line that was seen knows of."""
        self.stamp = 0.0
        """When that line was printed, on time.monotonic()."""
        self.has_begun = self.is_over = False
        self.is_to_quit = False
        """Whether the next line that is typed is the last."""
        self._random = random
        self._pending = b""
        self._line = b""
        self._due = 0.0
        self._has_quit = False
        self._asked = False
        self._seen = self.file("seen").open("wb", buffering=0)
        self._typed = self.file("typed").open("wb", buffering=0)
        self.terminal, slave = pty.openpty()
        os.set_blocking(self.terminal, False)
        with self.file("told").open("wb") as told:
            self.process = subprocess.Popen(
                [BIN / "jit", "shell", node],
                stdin=slave,
                stdout=slave,
                stderr=told,
                env=dict(environment),
                start_new_session=True,
            )
        os.close(slave)

    def file(self, what: str) -> Path:
        """`printed` and `taken` are the program's own."""
        return self.folder / f"{self.name}.{what}"

    @property
    def session_id(self) -> str:
        """What jit called it; "" when it never said."""
        found = re.search(rb"session (s-[0-9a-f]{20})", self.file("told").read_bytes())
        return found[1].decode() if found else ""

    @property
    def wants_to_write(self) -> bool:
        return bool(self._pending)

    def tick(self, now: float) -> None:
        """Types what is due."""
        if not self.has_begun or self._has_quit or now < self._due or len(self._pending) > _LONGEST_PENDING:
            return
        if self.is_to_quit:
            self._has_quit = True
            self._type(QUIT)
            return
        pad = self._random.randrange(1 << 14) if self._random.random() < _PASTES else self._random.randrange(60)
        line = b"%s in %d %s" % (self.name.encode(), self.typed_lines, b"x" * pad)
        self._type(b"%s %08x\n" % (line, zlib.crc32(line)))
        self.typed_lines += 1
        self._due = now + self._random.expovariate(1 / self.pace.typing_seconds)

    def readable(self) -> None:
        try:
            data = os.read(self.terminal, _AT_ONCE)
        except BlockingIOError:
            return
        except OSError:  # jit has ended
            data = b""
        if not data:
            self.is_over = True
            self.process.wait()
            return
        self._seen.write(data)
        whole, newline, self._line = (self._line + data).rpartition(b"\n")
        if newline:
            self.has_begun = self.has_begun or f"{self.name} begins\n".encode() in whole + newline
            self._look_at(whole.rpartition(b"\n")[2])
        if not self._asked:
            # The prompt. From now on a program reads and prints, and nothing is echoed or changed on the way.
            self._asked = True
            pace = self.pace
            numbers = f"{pace.pause_ms} {pace.burst_kib} {pace.burst_seconds}"
            start = f"{sys.executable} -ISu {PROGRAM} {self.name} {self.folder} {numbers}"
            self._pending = f"stty raw -echo; exec {start}\r".encode()

    def writable(self) -> None:
        try:
            self._pending = self._pending[os.write(self.terminal, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._pending = b""

    def close(self) -> None:
        """Ends jit, if it has not ended by itself."""
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        self._seen.close()
        self._typed.close()

    def _type(self, line: bytes) -> None:
        self._typed.write(line)
        self._pending += line

    def _look_at(self, line: bytes) -> None:
        words = line.split()
        if self.has_begun and len(words) == 5 and words[1].isdigit():
            self.taken_lines, self.stamp = int(words[2]), int(words[3]) / 1000

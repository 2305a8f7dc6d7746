"""A client under a terminal of its own, typed at from here."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PROMPT = re.compile(rb"[#$] $")
SECONDS = 10.0


class Terminal:
    """A process whose input and output are a terminal."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, wanted: re.Pattern[bytes]) -> None:
        """Reads until what was printed since the last such call matches. Raises TimeoutError."""
        deadline = time.monotonic() + SECONDS
        printed = b""
        while not wanted.search(printed):
            if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{wanted.pattern!r} was not printed, but {printed!r}")
            try:
                printed += os.read(self._master, 65536)
            except OSError:
                raise TimeoutError(f"the client ended; it printed {printed!r}") from None

    def become_echo(self) -> None:
        """From now on the remote side sends back every byte as it comes, and does nothing else."""
        self.read_until(PROMPT)
        self.type(b"stty raw -echo; echo rea''dy; exec cat\r")
        self.read_until(re.compile(rb"ready\s"))

    def echo(self, key: bytes) -> float:
        """Seconds from typing a key to seeing it."""
        began = time.perf_counter()
        os.write(self._master, key)
        if not select.select([self._master], [], [], SECONDS)[0]:
            raise TimeoutError(f"{key!r} was typed and never seen")
        seen = os.read(self._master, 16)
        took = time.perf_counter() - began
        if seen != key:
            raise AssertionError(f"typed {key!r}, saw {seen!r}")
        return took

"""All shells of a run: one thread reads what they print and types what is due, whatever happens to the network."""

import select
import threading
import time
from types import TracebackType
from typing import Self

from tests.crash.resume.shell import Shell
from tests.processes import wait_for

_TICK_SECONDS = 0.02
_BEGIN_SECONDS = 60.0
_END_SECONDS = 120.0


class Shells:
    """They are read and typed at until the block ends."""

    def __init__(self) -> None:
        self.all: list[Shell] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for shell in self.all:
            shell.close()

    def add(self, shell: Shell) -> None:
        self.all.append(shell)

    @property
    def alive(self) -> list[Shell]:
        return [shell for shell in self.all if not shell.is_over]

    @property
    def seen(self) -> int:
        """Bytes that all of them have shown so far."""
        return sum(shell.file("seen").stat().st_size for shell in self.all)

    def until_busy(self) -> None:
        wait_for(
            lambda: all(shell.has_begun and shell.taken_lines for shell in self.all), _BEGIN_SECONDS, "busy shells"
        )

    def until_back(self, seconds: float) -> list[Shell]:
        """Until each that lives shows what is printed from now on, and how what is typed from now on arrives.

        Those that did not within so many seconds.
        """
        since = time.monotonic()
        typed = {shell: shell.typed_lines for shell in self.all}
        missing: list[Shell] = []

        def still_away() -> list[Shell]:
            return [shell for shell in self.alive if shell.stamp <= since or shell.taken_lines <= typed[shell]]

        while (missing := still_away()) and time.monotonic() < since + seconds:
            time.sleep(_TICK_SECONDS)
        return missing

    def finish(self) -> None:
        """Has the last line typed into each, and waits for their end."""
        for shell in self.alive:
            shell.is_to_quit = True
        deadline = time.monotonic() + _END_SECONDS
        while self.alive and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            shells = {shell.terminal: shell for shell in self.alive}
            poll = select.poll()
            for terminal, shell in shells.items():
                poll.register(terminal, select.POLLIN | (select.POLLOUT if shell.wants_to_write else 0))
            for terminal, events in poll.poll(_TICK_SECONDS * 1000) if shells else ():
                if events & select.POLLOUT:
                    shells[terminal].writable()
                if events & ~select.POLLOUT:
                    shells[terminal].readable()
            if not shells:
                self._stop.wait(_TICK_SECONDS)
            now = time.monotonic()
            for shell in shells.values():
                shell.tick(now)

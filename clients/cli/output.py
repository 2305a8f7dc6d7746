"""Where a session's output goes: descriptors that nobody waits for, with lines of our own in between."""

import os
import select
import sys
from collections import deque

from clients.cli.terminal import Screen
from clients.cli.text import clean, coloured

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

STDOUT, STDERR = 1, 2
FAREWELL_SECONDS = 5.0  # for the output's tail, once the connection broke
TERMINAL_WRITE = 4096  # bytes that a terminal that is ready for some takes without blocking for long


class Output:
    """A descriptor that is written only as fast as it takes it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_terminal = os.isatty(descriptor)
        self.mid_line = False
        self.unwritten = 0  # bytes of the node's that wait
        self._waiting: deque[tuple[memoryview, bool]] = deque()  # and whether they are the node's
        self._was_blocking = os.get_blocking(descriptor)
        if not self.is_terminal:  # a terminal is shared with others, who would be surprised
            os.set_blocking(descriptor, False)

    def restore(self) -> None:
        os.set_blocking(self.descriptor, self._was_blocking)

    def put(self, data: bytes, *, ours: bool = False) -> None:
        """`ours`: a line of our own, which the node knows nothing of."""
        if data:
            self._waiting.append((memoryview(data), not ours))
            self.mid_line = data[-1] != 0x0A
            self.unwritten += 0 if ours else len(data)

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def write(self) -> int:
        """Writes what goes now; how much of that was the node's. BrokenPipeError when nobody reads any more."""
        before = self.unwritten
        while self._waiting:
            whole, of_node = self._waiting[0]
            chunk = whole
            if self.is_terminal:
                if not select.select([], [self.descriptor], [], 0)[1]:
                    break
                chunk = whole[:TERMINAL_WRITE]
            try:
                size = os.write(self.descriptor, chunk)
            except BlockingIOError:
                break
            self.unwritten -= size if of_node else 0
            if size == len(whole):
                self._waiting.popleft()
            else:
                self._waiting[0] = whole[size:], of_node
        return before - self.unwritten

    def drop(self) -> int:
        """Forgets what waits; how much of that was the node's."""
        dropped, self.unwritten = self.unwritten, 0
        self._waiting.clear()
        return dropped


class Outputs:
    """Standard output and standard error, which may be the same."""

    def __init__(self, undo: "ExitStack", *, raw: bool) -> None:
        """`raw`: a terminal that is a mere pipe to the remote one. `undo` leaves the descriptors as they were."""
        self._raw = raw
        self._screen = Screen()
        self._main = self._errors = self._make(STDOUT, undo)
        if not os.path.samestat(os.fstat(STDOUT), os.fstat(STDERR)):
            self._errors = self._make(STDERR, undo)

    def put(self, data: bytes, *, is_error: bool) -> None:
        (self._errors if is_error else self._main).put(data)
        if self._raw:
            self._screen.shows(data)

    def tell(self, text: str, severity: str) -> None:
        """A line of its own, whatever the node was printing. `severity` is that of SessionNotice."""
        if severity == "end":
            self.tidy()
        colour = {"warning": "33;1", "end": "31;1"}.get(severity, "36")
        end = b"\r\n" if self._raw else b"\n"
        begin = end if self._main.mid_line and self._main.is_terminal else b""
        line = begin + coloured(f"[jit] {clean(text)}", colour, sys.stderr).encode() + end
        self._errors.put(line, ours=True)
        self._main.mid_line = False

    def tidy(self) -> None:
        """Makes the person's screen one to go on with, though nothing on the node can do that any more."""
        if self._raw:
            self._main.put(self._screen.reset() + (b"\r\n" if self._main.mid_line else b""), ours=True)
            self._main.mid_line = False

    @property
    def unwritten(self) -> int:
        """Bytes of the node's that wait."""
        return sum(output.unwritten for output in self._each())

    @property
    def waiting(self) -> list[int]:
        """The descriptors that something waits for."""
        return [output.descriptor for output in self._each() if output.is_waiting]

    def write(self) -> int:
        """Writes what goes now; how much the node may send for it. BrokenPipeError when nobody reads any more."""
        written = self._main.write()
        if self._errors is not self._main:
            try:
                written += self._errors.write()
            except BrokenPipeError:
                written += self._errors.drop()
                self._errors = self._main  # what comes has nowhere else to go
        return written

    def drain(self) -> None:
        """Gives the descriptors a moment to take what has arrived."""
        for output in self._each():
            while output.is_waiting and select.select([], [output.descriptor], [], FAREWELL_SECONDS)[1]:
                try:
                    output.write()
                except OSError:
                    break

    def _each(self) -> "Iterator[Output]":
        yield self._main
        if self._errors is not self._main:
            yield self._errors

    @staticmethod
    def _make(descriptor: int, undo: "ExitStack") -> Output:
        output = Output(descriptor)
        undo.callback(output.restore)
        return output

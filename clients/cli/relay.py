"""The loop of a live session: one thread that moves keys to the node, output to the person, and lets nothing wait.

A blocked output never keeps frames from being read, and input stops while the gateway grants no credit; so a
notice, a revocation or the session's end is seen whatever else is stuck.
"""

import os
import select
import signal
import socket
import sys
from collections import deque
from contextlib import ExitStack, suppress

from clients.cli import terminal
from clients.cli.session import INPUT_AT_ONCE, Session
from clients.cli.text import clean, coloured
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import SESSION_STREAM_STDERR, SessionExit, SessionFrame, SessionNotice, SessionOpened

STDIN, STDOUT, STDERR = 0, 1, 2
TERMINAL_WRITE = 4096  # bytes that a terminal that is ready for some takes without blocking for long
FAREWELL_SECONDS = 5.0  # for the output's tail, once the connection broke
PATIENCE = 3  # this many times Ctrl-C, and it is for us rather than for the remote command


class Left(Exception):
    """The session is left before the remote side ended it; `exit_code` says how."""

    def __init__(self, exit_code: int, message: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Output:
    """A descriptor that is written only as fast as it takes it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_terminal = os.isatty(descriptor)
        self.mid_line = False
        self._waiting: deque[memoryview] = deque()
        self._was_blocking = os.get_blocking(descriptor)
        if not self.is_terminal:  # a terminal is shared with others, who would be surprised
            os.set_blocking(descriptor, False)

    def restore(self) -> None:
        os.set_blocking(self.descriptor, self._was_blocking)

    def put(self, data: bytes) -> None:
        if data:
            self._waiting.append(memoryview(data))
            self.mid_line = data[-1] != 0x0A

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def write(self) -> int:
        """Writes what goes now; how much that was. BrokenPipeError when nobody reads any more."""
        written = 0
        while self._waiting:
            chunk = self._waiting[0]
            if self.is_terminal:
                if not select.select([], [self.descriptor], [], 0)[1]:
                    break
                chunk = chunk[:TERMINAL_WRITE]
            try:
                size = os.write(self.descriptor, chunk)
            except BlockingIOError:
                break
            written += size
            if size == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][size:]
        return written


class Relay:
    """A session between this process's standard streams and the node."""

    def __init__(self, session: Session, opened: SessionOpened, *, on_terminal: bool, reads_stdin: bool) -> None:
        """`on_terminal`: the remote side has a terminal, so ours becomes a mere pipe to it."""
        self._session = session
        self._opened = opened
        self._channel = session.call.channel
        self._raw = on_terminal and os.isatty(STDIN)
        self._stdin_open = reads_stdin
        self._exit: SessionExit | None = None
        self._interrupts = 0
        self._escape = terminal.Escape()
        self._screen = terminal.Screen()
        self._told_end = False
        self._interest: dict[int, int] = {}

    def run(self) -> int:
        """Until the session ends; the exit code. Raises CallFailed when the call broke, Left when left early."""
        with ExitStack() as undo:
            self._output = Output(STDOUT)
            undo.callback(self._output.restore)
            self._errors = self._output
            if not os.path.samestat(os.fstat(STDOUT), os.fstat(STDERR)):
                self._errors = Output(STDERR)
                undo.callback(self._errors.restore)
            self._signals = _listen(undo)
            if self._raw:
                undo.enter_context(terminal.Raw(STDIN))
            if not self._stdin_open:
                self._session.send_eof()
            if self._raw:
                self._tell(SessionNotice(text=_welcome(self._opened), severity="info"))
            try:
                return self._loop()
            except (CallFailed, Left):
                self._tidy()
                self._drain()
                raise

    def _loop(self) -> int:
        self._take_frames()  # those that came together with the opening
        while True:
            self._write()
            if self._exit is not None and not self._output.is_waiting and not self._errors.is_waiting:
                return self._exit_code(self._exit)
            ready = self._poll()
            if STDIN in ready or self._signals.fileno() in ready:
                self._take_signals()  # before input: what was typed after a resize shall meet the new size
            if STDIN in ready:
                self._read_input()
            if self._channel.fileno() in ready:
                self._channel.read()
                self._take_frames()

    def _poll(self) -> set[int]:
        """Waits until one of the descriptors that matter now can go on; those that can."""
        interest = {self._signals.fileno(): select.POLLIN}
        buffered = False
        if self._exit is None:
            writes = select.POLLOUT if self._channel.wants_to_write else 0
            interest[self._channel.fileno()] = select.POLLIN | writes
            buffered = self._channel.has_buffered()
            if self._stdin_open and self._session.takes_input:
                interest[STDIN] = select.POLLIN
        for output in (self._output, self._errors):
            if output.is_waiting:
                interest[output.descriptor] = select.POLLOUT
        if interest != self._interest:
            self._interest = interest
            self._poller = select.poll()
            for descriptor, events in interest.items():
                self._poller.register(descriptor, events)
        ready = {descriptor for descriptor, _ in self._poller.poll(0 if buffered else None)}
        return ready | {self._channel.fileno()} if buffered else ready

    def _write(self) -> None:
        try:
            written = self._output.write()
        except BrokenPipeError:
            raise Left(128 + signal.SIGPIPE) from None
        if self._errors is not self._output:
            try:
                written += self._errors.write()
            except BrokenPipeError:
                self._errors = self._output  # what remains has nowhere else to go
        if written and self._exit is None:
            self._session.written(written)

    def _take_frames(self) -> None:
        while self._exit is None and (frame := self._session.take()) is not None:
            self._take(frame)
        if self._exit is None and self._session.call.ended:
            raise CallFailed("UNAVAILABLE", "the gateway ended the session without saying why")

    def _take(self, frame: SessionFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "data":
            is_error = frame.data.stream == SESSION_STREAM_STDERR
            payload = frame.data.payload
            (self._errors if is_error else self._output).put(payload)
            if self._raw:
                self._screen.shows(payload)
        elif kind == "notice":
            self._tell(frame.notice)
        elif kind == "exit":
            self._exit = frame.exit

    def _tell(self, notice: SessionNotice) -> None:
        """On a line of its own, whatever the node was printing."""
        if notice.severity == "end":
            self._told_end = True
            self._tidy()
        colour = {"warning": "33;1", "end": "31;1"}.get(notice.severity, "36")
        end = b"\r\n" if self._raw else b"\n"
        begin = end if self._output.mid_line and self._output.is_terminal else b""
        self._errors.put(begin + coloured(f"[jit] {clean(notice.text)}", colour, sys.stderr).encode() + end)
        self._output.mid_line = False

    def _read_input(self) -> None:
        try:
            data = os.read(STDIN, min(INPUT_AT_ONCE, self._session.input_credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that hung up
        if not data:
            self._stdin_open = False
            self._session.send_eof()
            return
        if self._raw:
            data = self._escape.filter(data)
        if data:
            self._session.send_input(data)
        if self._escape.leaves:
            raise Left(255, "left the session; what runs in it is ended by the gateway")

    def _take_signals(self) -> None:
        with suppress(BlockingIOError):
            for number in self._signals.recv(64):
                self._signal(number)

    def _signal(self, number: int) -> None:
        if number == getattr(signal, "SIGWINCH", None):
            if self._raw:
                self._session.send_resize(*terminal.size(STDIN))
            return
        self._interrupts += 1
        if self._raw or number == signal.SIGHUP or self._exit is not None or self._interrupts >= PATIENCE:
            raise Left(128 + number)
        self._session.send_signal(signal.Signals(number).name.removeprefix("SIG"))

    def _exit_code(self, ended: SessionExit) -> int:
        result = ended.WhichOneof("result")
        if result == "status":
            return ended.status & 0xFF
        if result == "signal":
            number = getattr(signal, f"SIG{ended.signal}", None)
            return 128 + number if number else 255
        # Most ends are told by a notice just before; once is enough.
        raise Left(255, "" if self._told_end else ended.message or "the session was ended")

    def _tidy(self) -> None:
        """Makes the person's screen one to go on with, though nothing on the node can do that any more."""
        if self._raw:
            self._output.put(self._screen.reset() + (b"\r\n" if self._output.mid_line else b""))
            self._output.mid_line = False

    def _drain(self) -> None:
        """Gives the outputs a moment to take what has arrived."""
        for output in {self._output, self._errors}:
            while output.is_waiting and select.select([], [output.descriptor], [], FAREWELL_SECONDS)[1]:
                try:
                    output.write()
                except OSError:
                    break


def _welcome(opened: SessionOpened) -> str:
    """Where the person is now, and that others may see it."""
    recorded = "recorded" if opened.recorded else "not recorded"
    where = f"{opened.login}@{opened.node_id}, session {opened.session_id}, {recorded}"
    if not opened.ends_at.seconds:
        return where
    from time import localtime, strftime

    return f"{where}, ends {strftime('%Y-%m-%d %H:%M', localtime(opened.ends_at.seconds))}"


def _listen(undo: ExitStack) -> socket.socket:
    """A socket on which the numbers of the signals arrive that are not to end this process by themselves."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        undo.callback(end.close)
    undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False))
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGWINCH"):
        if number := getattr(signal, name, None):  # systems differ
            undo.callback(signal.signal, number, signal.signal(number, lambda _number, _frame: None))
    return ours

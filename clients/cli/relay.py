"""The loop of a live session: one thread that moves keys to the node, output to the person, and lets nothing wait.

A blocked output never keeps frames from being read, and input stops while the gateway grants no credit; so a
notice, a revocation or the session's end is seen whatever else is stuck. When the connection breaks and the node
keeps the session, the loop goes on while `reconnect` gets it back.
"""

import os
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress

from clients.cli import terminal
from clients.cli.output import Outputs
from clients.cli.session import Session
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import SESSION_STREAM_STDERR, ResumeSession, SessionExit, SessionFrame

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from clients.cli.reconnect import Reconnection
    from clients.cli.way import Way

STDIN = 0
PATIENCE = 3  # this many times Ctrl-C, and it is for us rather than for the remote command
NOTICE_AFTER = 2.0  # seconds without a connection; who is back sooner was hardly away
REDRAW_PAUSE = 0.25  # seconds between two sizes, so that a program sees both
CTRL_C = b"\x03"


class Left(Exception):
    """The session is left before the remote side ended it; `exit_code` says how."""

    def __init__(self, exit_code: int, message: str = "", what_to_do: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.what_to_do = what_to_do


class Relay:
    """A session between this process's standard streams and the node."""

    def __init__(self, session: Session, way: "Way", *, name: str, on_terminal: bool, reads_stdin: bool) -> None:
        """`name`: of the node, for people. `on_terminal`: the remote side has one, so ours becomes a mere pipe."""
        self._session = session
        self._way = way
        self._name = name
        self._raw = on_terminal and os.isatty(STDIN)
        self._reads_stdin = reads_stdin
        self._exit: SessionExit | None = None
        self._interrupts = 0
        self._escape = terminal.Escape()
        self._told_end = False
        self._interest: dict[int, int] = {}
        self._away: Reconnection | None = None
        self._missed: list[str] = []  # signals to pass on when there is a connection again
        self._tell_loss_at = 0.0  # monotonic; 0: there is nothing to tell, or it was told
        self._size_at = 0.0  # monotonic; when the node is to learn the terminal's true size; 0: it knows it

    def run(self, *, redraw: bool = False) -> int:
        """Until the session ends; the exit code. Raises CallFailed when the call broke, Left when left early.

        `redraw`: others saw the session so far; what is on its screen is to be drawn again.
        """
        with ExitStack() as undo:
            self._outputs = Outputs(undo, raw=self._raw)
            self._signals = _listen(undo)
            if self._raw:
                undo.enter_context(terminal.Raw(STDIN))
                self._tell(_welcome(self._session, self._name))
            if not self._reads_stdin:
                self._session.end_input()
            try:
                if redraw:
                    self._redraw()
                return self._loop()
            except (CallFailed, Left):
                self._session.hang_up()
                self._outputs.tidy()
                self._outputs.drain()
                raise
            finally:
                if self._away is not None:
                    self._away.abandon()

    def _loop(self) -> int:
        self._receive(has_news=False)  # what came together with the opening
        while True:
            self._write()
            if self._exit is not None and not self._outputs.waiting:
                return self._exit_code(self._exit)
            ready = self._poll()
            self._look_at_clock()
            if STDIN in ready or self._signals.fileno() in ready:
                self._take_signals()  # before input: what was typed after a resize shall meet the new size
            if STDIN in ready:
                self._read_input()
            if self._away is None:
                self._receive(has_news=self._session.call.channel.fileno() in ready)
            elif self._away.fileno() in ready:
                self._come_back(self._away)

    def _poll(self) -> set[int]:
        """Waits until one of the descriptors that matter now can go on, or for the clock; those that can."""
        interest = {self._signals.fileno(): select.POLLIN}
        channel, buffered, alarms = self._session.call.channel, False, [self._tell_loss_at, self._size_at]
        wait = None
        if self._away is not None:
            interest[self._away.fileno()] = select.POLLIN
        elif self._exit is None:
            interest[channel.fileno()] = select.POLLIN | (select.POLLOUT if channel.wants_to_write else 0)
            buffered = channel.has_buffered()
            wait = channel.beat()
        if self._exit is None and self._session.room > 0:
            interest[STDIN] = select.POLLIN
        for descriptor in self._outputs.waiting:
            interest[descriptor] = select.POLLOUT
        if interest != self._interest:
            self._interest = interest
            self._poller = select.poll()
            for descriptor, events in interest.items():
                self._poller.register(descriptor, events)
        if buffered:
            return {descriptor for descriptor, _ in self._poller.poll(0)} | {channel.fileno()}
        for alarm in filter(None, alarms):
            left = max(alarm - time.monotonic(), 0.0)
            wait = left if wait is None else min(wait, left)
        return {descriptor for descriptor, _ in self._poller.poll(None if wait is None else wait * 1000 + 1)}

    def _look_at_clock(self) -> None:
        if self._tell_loss_at and time.monotonic() >= self._tell_loss_at:
            self._tell_loss_at = 0.0
            self._tell("connection lost, reconnecting… Ctrl-C leaves", "warning")
        if self._size_at and time.monotonic() >= self._size_at:
            self._size_at = 0.0
            self._session.send_resize(*terminal.size(STDIN))

    # Output

    def _write(self) -> None:
        try:
            written = self._outputs.write()
        except BrokenPipeError:
            raise Left(128 + signal.SIGPIPE) from None
        if written and self._exit is None:
            self._session.written(written)

    def _receive(self, *, has_news: bool) -> None:
        """Takes what the gateway sent."""
        try:
            if has_news:
                self._session.call.channel.read()
            while self._exit is None and (frame := self._session.take()) is not None:
                self._take(frame)
        except CallFailed as failed:
            if not self._session.is_resumable or not failed.may_pass:
                raise
            self._go_away()

    def _take(self, frame: SessionFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "data":
            self._outputs.put(frame.data.payload, is_error=frame.data.stream == SESSION_STREAM_STDERR)
        elif kind == "notice":
            self._tell(frame.notice.text, frame.notice.severity)
        elif kind == "exit":
            self._exit = frame.exit
            self._session.hang_up()

    def _tell(self, text: str, severity: str = "info") -> None:
        self._told_end = self._told_end or severity == "end"
        self._outputs.tell(text, severity)

    # Without a connection

    def _go_away(self) -> None:
        from clients.cli.reconnect import Reconnection

        now = time.monotonic()
        self._session.call.channel.close()
        self._tell_loss_at = now + NOTICE_AFTER
        self._size_at = 0.0
        self._away = Reconnection(self._way, now + self._session.opened.grace_seconds, self._wanted)

    def _wanted(self) -> ResumeSession:
        wanted = self._session.resumption(self._outputs.unwritten)
        if self._raw:
            wanted.terminal.term = terminal.kind()
            wanted.terminal.columns, wanted.terminal.rows = terminal.size(STDIN)
        return wanted

    def _come_back(self, away: "Reconnection") -> None:
        self._away = None
        call, opened, credit = away.result()
        self._session.go_on(call, opened, credit, self._outputs.unwritten)
        was_told, self._tell_loss_at = not self._tell_loss_at, 0.0
        if was_told:
            self._tell("connected again")
            self._redraw()
        elif self._raw:
            self._session.send_resize(*terminal.size(STDIN))
        while self._missed:
            self._session.send_signal(self._missed.pop(0))
        self._receive(has_news=False)

    @property
    def _knows_of_loss(self) -> bool:
        """Whether the person was told that there is no connection. Until then their keys are the node's."""
        return self._away is not None and not self._tell_loss_at

    def _redraw(self) -> None:
        """Has the program on the node draw its screen again: it does when the size changes."""
        if self._raw:
            columns, rows = terminal.size(STDIN)
            self._session.send_resize(columns, rows - 1 or 2)
            self._size_at = time.monotonic() + REDRAW_PAUSE

    # Input

    def _read_input(self) -> None:
        try:
            data = os.read(STDIN, self._session.room)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that hung up
        if not data:
            self._session.end_input()
            return
        if self._raw:
            if self._knows_of_loss and CTRL_C in data:
                raise self._left(128 + signal.SIGINT)
            data = self._escape.filter(data)
        if data:
            self._session.put_input(data)
        if self._escape.leaves:
            raise self._left(255)

    def _left(self, exit_code: int) -> Left:
        if self._away is None:
            return Left(exit_code, "left the session; what runs in it is ended by the gateway")
        opened = self._session.opened
        what_to_do = f"Go on, here or elsewhere: jit sessions attach {opened.session_id}"
        return Left(exit_code, f"left the session; its node keeps it for {opened.grace_seconds} s", what_to_do)

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
        if self._knows_of_loss:
            raise self._left(128 + number)
        if self._raw or number == signal.SIGHUP or self._exit is not None or self._interrupts >= PATIENCE:
            raise Left(128 + number) if self._away is None else self._left(128 + number)
        name = signal.Signals(number).name.removeprefix("SIG")
        if self._away is not None:
            self._missed.append(name)
        else:
            self._session.send_signal(name)

    # The end

    def _exit_code(self, ended: SessionExit) -> int:
        result = ended.WhichOneof("result")
        if result == "status":
            return ended.status & 0xFF
        if result == "signal":
            number = getattr(signal, f"SIG{ended.signal}", None)
            return 128 + number if number else 255
        # Most ends are told by a notice just before; once is enough.
        raise Left(255, "" if self._told_end else ended.message or "the session was ended")


def _welcome(session: Session, name: str) -> str:
    """Where the person is now, and that others may see it."""
    opened = session.opened
    recorded = "recorded" if opened.recorded else "not recorded"
    where = f"{opened.login}@{name or opened.node_id}, session {opened.session_id}, {recorded}"
    if not opened.ends_at.seconds:
        return where
    return f"{where}, ends {time.strftime('%Y-%m-%d %H:%M', time.localtime(opened.ends_at.seconds))}"


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

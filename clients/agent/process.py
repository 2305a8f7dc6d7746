"""The process of a session, as the event loop sees it: descriptors to read and write, and how it ended."""

import asyncio
import contextlib
import fcntl
import marshal
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.agent.logins import Login

LONGEST_READ = 256 * 1024
_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_START_SECONDS = 10.0
_PIPE_BYTES = 256 * 1024
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_CEOF_ALONE = 2


class NotStarted(Exception):
    """The session's first process did not start; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `command` "" starts a login shell; `size` is (columns, rows) of a terminal, None: none."""

    session_id: str
    login: Login
    lifetime: float
    command: str = ""
    profile: str = ""
    term: str = ""
    size: tuple[int, int] | None = None
    cgroup: str = ""


class Process:
    """A session's process group, in the keeping of a supervisor (see supervisor.py).

    `output` and `errors` are descriptors that never block, -1 when they are closed or there is none; `input` as
    well. Everything is for the event loop's thread.
    """

    def __init__(
        self, supervisor: "subprocess.Popen[bytes]", control: socket.socket, ends: tuple[int, int, int]
    ) -> None:
        self.input, self.output, self.errors = ends
        self.status: int | None = None
        """The wait status of the first process, once everything is dead."""
        self.changed: Callable[[], None] = lambda: None
        """Called when `status` is there."""
        self._supervisor = supervisor
        self._reaped = asyncio.Event()
        self._control = control
        self._cgroup = ""
        self._group = 0
        self._has_terminal = self.errors < 0
        self._typed = b""

    @classmethod
    async def start(cls, plan: Plan) -> "Process":
        """Raises NotStarted, OSError. When it is cancelled nothing is left behind."""
        theirs, ours = _terminal(plan.size) if plan.size else _pipes()
        control, their_control = socket.socketpair()
        control.setblocking(False)
        try:
            # A few milliseconds; asyncio's own way would keep a thread for each.
            supervisor = subprocess.Popen(  # noqa: ASYNC220, S603  # nothing of it comes from outside
                [sys.executable, "-I", "-S", _SUPERVISOR, str(their_control.fileno()), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={},
                pass_fds={their_control.fileno(), *theirs},
                start_new_session=True,
            )
        except BaseException:
            _close(*ours)
            control.close()
            raise
        finally:
            _close(*theirs)
            their_control.close()
        process = cls(supervisor, control, ours)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process._begin(plan)
        except TimeoutError:
            await process.close()
            raise NotStarted("it took too long to start") from None
        except BaseException:
            await process.close()
            raise
        return process

    def resize(self, columns: int, rows: int) -> None:
        if self._has_terminal and self.output >= 0:
            fcntl.ioctl(self.output, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, name: str) -> None:
        """To the terminal's foreground processes, or to the command's process group."""
        group = 0
        if self._has_terminal and self.output >= 0:
            with contextlib.suppress(OSError):
                group = max(0, os.tcgetpgrp(self.output))
        self._tell(("signal", int(signal.Signals[f"SIG{name}"]), group))

    def read(self, descriptor: int, most: int = LONGEST_READ) -> bytes | None:
        """What is there, `most` and LONGEST_READ at most; b"" when there is nothing now, None at the end."""
        most = min(most, LONGEST_READ)
        parts: list[bytes] = []
        size = 0
        while size < most:
            try:
                part = os.read(descriptor, most - size)
            except BlockingIOError:
                break
            except OSError:
                part = b""  # a terminal that nobody has open any more
            if not part:
                return b"".join(parts) if parts else None
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def write(self, data: bytes | memoryview) -> int:
        """How much of the input was taken; all of it where nobody reads any more."""
        if self.input < 0:
            return len(data)
        try:
            taken = os.write(self.input, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)
        self._typed = bytes(data[taken - 1 : taken]) or self._typed
        return taken

    def end_input(self) -> None:
        """Nothing more is written: a pipe is closed, on a terminal the key is pressed that means it."""
        if self.input < 0:
            return
        if self._has_terminal:
            attributes = termios.tcgetattr(self.input)
            if attributes[3] & termios.ICANON:
                # The first ends a line that was begun, the second the input.
                keys = attributes[6][termios.VEOF] * (1 if self._typed in (b"", b"\n", b"\r") else _CEOF_ALONE)
                self.write(keys)
            return
        asyncio.get_running_loop().remove_writer(self.input)
        _close(self.input)
        self.input = -1

    def finish(self, descriptor: int) -> None:
        """The end of `descriptor` was read."""
        asyncio.get_running_loop().remove_reader(descriptor)
        if not self._has_terminal:
            _close(descriptor)
        if descriptor == self.output:
            self.output = -1
            if self._has_terminal:
                asyncio.get_running_loop().remove_writer(self.input)
                _close(self.input)
                self.input = -1
        else:
            self.errors = -1

    async def close(self) -> None:
        """Kills whatever still runs and lets go of everything; returns when that is done. Again is harmless."""
        self.changed = lambda: None
        loop = asyncio.get_running_loop()
        for descriptor in {self.input, self.output, self.errors} - {-1}:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            _close(descriptor)
        self.input = self.output = self.errors = -1
        if self._control.fileno() >= 0 and self.status is None:
            # The supervisor kills the session once nobody holds the other end; it is reaped when it is done.
            loop.remove_reader(self._control)
            self._control.shutdown(socket.SHUT_WR)
            loop.add_reader(self._control, self._heard)
        await self._reaped.wait()

    async def _begin(self, plan: Plan) -> None:
        loop = asyncio.get_running_loop()
        login = plan.login
        order = {
            "name": login.name,
            "uid": login.uid,
            "gid": login.gid,
            "home": login.home,
            "shell": login.shell,
            "argv": login.argv(plan.command, plan.profile),
            "environment": login.environment(plan.session_id, plan.term),
            "lifetime": plan.lifetime,
            "terminal": plan.size is not None,
            "cgroup": plan.cgroup,
        }
        await loop.sock_sendall(self._control, _framed(order))
        head = await self._exactly(4)
        message = marshal.loads(await self._exactly(int.from_bytes(head, "big")))  # noqa: S302  # our own program's words
        if message[0] != "running":
            raise NotStarted(str(message[1]))
        self._group, self._cgroup = message[1], plan.cgroup
        loop.add_reader(self._control, self._heard)

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = await asyncio.get_running_loop().sock_recv(self._control, size - len(data))
            if not chunk:
                raise NotStarted("its supervisor did not start")
            data += chunk
        return data

    def _heard(self) -> None:
        """The supervisor said how it ended, or died itself."""
        try:
            message = self._control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        loop = asyncio.get_running_loop()
        if message:
            self.status = marshal.loads(message[4:])[1]  # noqa: S302  # our own program's words
        elif self.status is None:
            self.status = int(signal.SIGKILL)
            self._kill_what_is_left()
        loop.remove_reader(self._control)
        self._control.close()
        self._supervisor.wait()  # it has said its last word, so this takes no time
        self._reaped.set()
        self.changed()

    def _kill_what_is_left(self) -> None:
        """The supervisor did not end by itself: somebody killed it."""
        with contextlib.suppress(OSError):
            if self._group:
                os.killpg(self._group, signal.SIGKILL)
            if self._cgroup:
                (Path(self._cgroup) / "cgroup.kill").write_text("1")

    def _tell(self, message: tuple[str, int, int]) -> None:
        if self._control.fileno() >= 0 and self.status is None:
            try:
                self._control.send(_framed(message))
            except OSError:
                return  # it is about to end


def _terminal(size: tuple[int, int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Their ends and ours of a new terminal."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    os.set_blocking(master, False)
    return (slave, slave, slave), (master, master, -1)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    pairs = [os.pipe() for _ in range(3)]
    ours = (pairs[0][1], pairs[1][0], pairs[2][0])
    for descriptor in ours:
        os.set_blocking(descriptor, False)
        if sys.platform == "linux":
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
    return (pairs[0][0], pairs[1][1], pairs[2][1]), ours


def _close(*descriptors: int) -> None:
    for descriptor in set(descriptors) - {-1}:
        os.close(descriptor)


def _framed(message: Any) -> bytes:
    body = marshal.dumps(message)
    return len(body).to_bytes(4, "big") + body

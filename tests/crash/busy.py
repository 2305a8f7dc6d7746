"""Busy sessions: clients that keep every byte they saw, of commands that print counters with checksums."""

import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import grpc

from tests.e2e.live import Live
from tests.e2e.stage import Somebody, Stage
from tests.processes import wait_for

# Prints salted counters, each with its checksum; pauses, so that the machine has time for everybody.
_PRINTER = (
    "import sys,time,zlib\n"
    "out=sys.stdout.buffer\n"
    "for n in range({lines}):\n"
    " line=b'{salt} %d'%n\n"
    " out.write(b'%s %08x\\n'%(line,zlib.crc32(line)))\n"
    " if n%{together}==0: out.flush(); time.sleep({pause})\n"
)
LINES_THAT_NEVER_END = 10**9


@dataclass(frozen=True)
class Seen:
    """What one client got of one session before the gateway was killed, or before the session's own end."""

    salt: str
    output: bytes

    @property
    def is_true(self) -> bool:
        """Every whole line is the one that the node printed."""
        lines = self.output.split(b"\n")[:-1]
        return all(
            line == f"{self.salt} {number} ".encode() + b"%08x" % zlib.crc32(line.rpartition(b" ")[0])
            for number, line in enumerate(lines)
        )


class Clients:
    """Threads that hold sessions until the gateway is gone."""

    def __init__(self, on: Stage, random: Random, number: int) -> None:
        """`number` is the round's, so that no two sessions print the same."""
        self.seen: list[Seen] = []
        self.surprises: list[str] = []
        """What went wrong before anything was killed."""
        self._on = on
        self._random = random
        self._number = number
        self._made = 0
        self._wanted = 0
        self._streams: list[Live] = []
        self._killed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, streams: int) -> None:
        """So many endless sessions, one that starts and ends all the time, and one of the real command line."""
        self._wanted = streams
        token = self._on.token()
        work: list[Callable[[], None]] = [lambda: self._stream(token) for _ in range(streams)]
        work += [lambda: self._short_ones(token), self._command_line]
        for each in work:
            thread = threading.Thread(target=each, daemon=True)
            thread.start()
            self._threads.append(thread)

    def until_busy(self) -> None:
        """Until every endless session has shown something."""
        wait_for(lambda: len(self._streams) == self._wanted and all(live.output for live in self._streams), 20)

    def killed(self) -> None:
        """From now on calls may fail."""
        self._killed.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a client did not notice that the gateway is gone"

    def _command(self, lines: int) -> tuple[str, str]:
        with self._lock:
            self._made += 1
            salt = f"r{self._number}c{self._made}"
            together, pause = self._random.choice(((1, 0.0005), (20, 0.001), (400, 0.004), (4000, 0.02)))
        printer = _PRINTER.format(lines=lines, salt=salt, together=together, pause=pause)
        return salt, f'exec {sys.executable} -c "{printer}"'

    def _stream(self, token: str) -> None:
        self._hold(token, LINES_THAT_NEVER_END)

    def _short_ones(self, token: str) -> None:
        while not self._killed.is_set():
            self._hold(token, 500)

    def _hold(self, token: str, lines: int) -> None:
        salt, command = self._command(lines)
        try:
            with Live(self._alice.client, token, "web-1", command) as live:
                if lines == LINES_THAT_NEVER_END:
                    self._streams.append(live)
                end = live.until_over(60)
                seen = bytes(live.output)
        except grpc.RpcError as error:
            end, seen = (str(error), ""), b""
        self._saw(salt, seen, "" if end[0] == "OK" else str(end))

    def _command_line(self) -> None:
        while not self._killed.is_set():
            salt, command = self._command(2000)
            with tempfile.TemporaryFile() as output:
                process = self._alice.person.popen(
                    *("exec", "-n", "web-1", "--", command), stdout=output, stderr=subprocess.PIPE
                )
                said = process.communicate(timeout=60)[1]
                output.seek(0)
                self._saw(salt, output.read(), "" if process.returncode == 0 else said.decode())

    @property
    def _alice(self) -> Somebody:
        return self._on.alice

    def _saw(self, salt: str, output: bytes, problem: str) -> None:
        with self._lock:
            self.seen.append(Seen(salt, output))
            if problem and not self._killed.is_set():
                self.surprises.append(f"{salt}: {problem}")

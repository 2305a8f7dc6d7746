"""Many sessions of one process, each over a connection of its own, as `jit` itself speaks.

python -m tests.bench.fleet NODE COUNT     opens them, says so, and keeps them until its input ends
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from clients.cli import profile
from clients.cli.session import OUTPUT_CREDIT, Session, answer, begin
from clients.cli.wire.channel import Call, Channel
from jitgate.v1.session_pb2 import SESSION_KIND_EXEC, OpenSession, SessionFrame
from tests.processes import Person

ECHO = "stty raw -echo; echo ready; exec cat"
"""A command that sends back every byte as it comes."""
AT_ONCE = 16
SHARE = 500
"""Sessions of one process: a client waits with select(), which counts to 1,024."""
SECONDS = 60.0


@dataclass(frozen=True)
class Way:
    """How to open a session: as whom, on which node, with which token."""

    person: profile.Profile
    node: str
    token: str

    def begin(self) -> Call:
        """Connects and sends the opening; the gateway dials meanwhile."""
        opening = OpenSession(access_token=self.token, node=self.node, kind=SESSION_KIND_EXEC, command=ECHO)
        opening.terminal.term, opening.terminal.columns, opening.terminal.rows = "xterm", 80, 24
        opening.credit = OUTPUT_CREDIT
        return begin(Channel(self.person.gateway_address, self.person.context()), SessionFrame(open=opening))


class Fleet:
    """Open sessions, by number in the order in which they were opened."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._by_descriptor: dict[int, Session] = {}
        self._numbers: dict[Session, int] = {}
        self._poll = select.epoll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._poll.close()
        for session in self.sessions:
            session.call.channel.close()

    def open(self, ways: Sequence[Way]) -> None:
        """Opens them, some at once, and waits until each has printed that it is ready."""
        for start in range(0, len(ways), AT_ONCE):
            begun = [way.begin() for way in ways[start : start + AT_ONCE]]
            for call in begun:
                session = Session(call, answer(call))
                channel = call.channel
                printed = b""
                deadline = time.monotonic() + SECONDS
                while b"ready" not in printed:
                    while (frame := session.take()) is not None:
                        printed += frame.data.payload
                    if b"ready" not in printed and not channel.wait(deadline):
                        raise TimeoutError(f"a session is not ready; it printed {printed!r}")
                self._add(session)

    def _add(self, session: Session) -> None:
        session.call.channel.flush()
        self._numbers[session] = len(self.sessions)
        self.sessions.append(session)
        descriptor = session.call.channel.fileno()
        self._by_descriptor[descriptor] = session
        self._poll.register(descriptor, select.EPOLLIN)

    def frames(self, seconds: float) -> Iterator[tuple[int, SessionFrame]]:
        """What arrives first, if that is within `seconds`: the session's number and the frame."""
        for descriptor, _ in self._poll.poll(max(0.0, seconds)):
            session = self._by_descriptor[descriptor]
            session.call.channel.read()
            while (frame := session.take()) is not None:
                yield self._numbers[session], frame


@contextlib.contextmanager
def others(person: Person, node: str, token: str, count: int) -> Iterator[None]:
    """So many sessions are open, in processes of their own, until the block ends."""
    with contextlib.ExitStack() as undo:
        for start in range(0, count, SHARE):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.fleet", node, str(min(SHARE, count - start))],
                env=person.environment | {"JIT_ACCESS_TOKEN": token, "PYTHONPATH": str(Path.cwd())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            undo.enter_context(process)  # closes its input and waits for it
            assert process.stdout is not None
            if process.stdout.readline() != b"open\n":
                raise RuntimeError("the sessions did not open")
        yield


def main() -> None:
    node, count = sys.argv[1:]
    way = Way(profile.load(), node, os.environ["JIT_ACCESS_TOKEN"])
    with Fleet() as fleet:
        fleet.open([way] * int(count))
        print("open", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

"""Getting a session back whose call broke, in a thread, so that keys and output go on meanwhile."""

import random
import socket
import threading
import time

from clients.cli.way import Way
from clients.cli.wire.channel import Call
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import ResumeSession, SessionOpened

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts


class Reconnection:
    """Tries until the session goes on, is refused, or the time is up. `fileno` is readable then."""

    def __init__(self, way: Way, until: float, wanted: "Callable[[], ResumeSession]") -> None:
        """`until`: when to give up (monotonic). `wanted`: what to ask for at the time; called in the thread."""
        self._way = way
        self._until = until
        self._wanted = wanted
        self._ours, self._theirs = socket.socketpair()
        self._left = threading.Event()
        self._failed: Exception | None = None
        self._opened: tuple[Call, SessionOpened, int] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def fileno(self) -> int:
        return self._ours.fileno()

    def result(self) -> tuple[Call, SessionOpened, int]:
        """The new call, what the gateway opened, and the credit that it was granted. Raises CallFailed."""
        self._ours.close()
        if self._opened is None:
            raise self._failed or CallFailed("CANCELLED", "the session was left")
        return self._opened

    def abandon(self) -> None:
        """Nobody waits for the result any more."""
        self._left.set()

    def _run(self) -> None:
        try:
            self._opened = self._try()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is taken
            self._failed = error
        self._theirs.close()

    def _try(self) -> tuple[Call, SessionOpened, int] | None:
        longest = 2 * SHORTEST_PAUSE
        while not self._left.wait(random.uniform(SHORTEST_PAUSE, longest)):  # noqa: S311 - no secret
            wanted = self._wanted()
            try:
                return *self._way.go(wanted), wanted.credit
            except CallFailed as failed:
                if not failed.may_pass:
                    raise
                if time.monotonic() >= self._until:
                    why = f"the connection was lost and could not be made again in time: {failed.message}"
                    raise CallFailed("UNAVAILABLE", why, failed.details) from failed
            longest = min(2 * longest, LONGEST_PAUSE)
        return None

"""Input for a session: what waits for the agent, and what may have to be sent again. Values in, values out."""

import asyncio
from collections import deque
from typing import Final

from gateway.nodes.agents import errors
from jitgate.v1.session_pb2 import SessionData

_MOST: Final = 1 << 62
"""Nobody has typed more."""
INPUT_HIGH: Final = 128 * 1024
"""More input than this waits for no node: the writer is asked to wait."""


class Backlog:
    """`keeps`: what was sent is kept until the agent says that the process has taken it."""

    def __init__(self, *, keeps: bool) -> None:
        self.ended = False
        """Nothing comes after what is here."""
        self.writable = asyncio.Event()
        self.writable.set()
        self._keeps = keeps
        self._sent: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        # Offsets: after what the process is known to have taken, and after what was sent.
        self._taken = self._offset = 0
        self._said_end = self._is_dropped = self._is_unknown = False

    @property
    def end(self) -> int:
        """The offset of what is added next."""
        return self._offset + self._waiting_size

    def inherit(self, offset: int | None) -> None:
        """Somebody else has sent what is before the offset, or some of it; None: the agent says how much."""
        self._offset = offset or 0
        self._is_unknown = offset is None

    def add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_size += len(data)
        self._set_writable()

    def next(self, room: int) -> SessionData | None:
        """At most `room` bytes that are sent now."""
        if not self._waiting:
            return None
        chunk = self._waiting.popleft()
        if len(chunk) > room:
            self._waiting.appendleft(chunk[room:])
            chunk = chunk[:room]
        data = SessionData(offset=self._offset, payload=chunk)
        self._offset += len(chunk)
        self._waiting_size -= len(chunk)
        if self._keeps:
            self._sent.append(chunk)
        if self._waiting_size <= INPUT_HIGH // 2:
            self.writable.set()
        return data

    def next_end(self) -> bool:
        """Whether it is time to say that nothing more comes; True once, and once more after each `repeat`."""
        if not self.ended or self._said_end or self._waiting or self._is_dropped:
            return False
        self._said_end = True
        return True

    def taken(self, size: int) -> None:
        """The process has taken so much more of what was sent."""
        self._taken += size
        while size and self._sent:
            chunk = self._sent.popleft()
            if len(chunk) > size:
                self._sent.appendleft(chunk[size:])
            size -= min(size, len(chunk))

    def repeat(self, offset: int) -> None:
        """The agent has what is before the offset: what was sent after it is sent again.

        Raises Refused BROKEN_FRAMES for an offset that cannot be.
        """
        if self._is_unknown and offset <= _MOST:
            self._offset, self._is_unknown = offset, False
        if not self._taken <= offset <= self._offset:
            raise errors.broken(
                f"input until {offset} is there where {self._taken} was taken and {self._offset} sent"
            )
        self.taken(offset - self._taken)
        again = sum(map(len, self._sent))
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._waiting_size += again
        self._offset = offset
        self._said_end = False
        self._set_writable()

    def drop(self) -> None:
        """Nobody takes any: the process or the session has ended."""
        self._is_dropped = True
        self._waiting.clear()
        self._sent.clear()
        self._waiting_size = 0
        self.writable.set()

    def _set_writable(self) -> None:
        if self._waiting_size > INPUT_HIGH:
            self.writable.clear()

"""Offsets and credit of one session, seen from the node: values in, values out."""

from collections import deque

from jitgate.v1.session_pb2 import SessionStream

MAX_PAYLOAD = 256 * 1024
"""Bytes of data in one frame, either way."""
INPUT_WINDOW = 256 * 1024
"""Bytes of input that a session takes before the process has taken them."""
OUTPUT_HIGH = 512 * 1024
"""With so much output waiting the process is not read from."""
MAX_CREDIT = 16 * 1024 * 1024


class BrokenFrames(Exception):
    """The other side did not keep to the contract; the text says how."""


class Budget:
    """Bytes of output that all sessions hold. Beyond it each holds one chunk: slow, but none starves."""

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self.limit = limit
        self.used = 0


class Input:
    """Input: what came, checked, and what the process has not taken yet."""

    def __init__(self) -> None:
        self.ended = False
        self._offset = 0
        self._credit = INPUT_WINDOW
        self._taken = 0
        self._waiting: deque[memoryview] = deque()

    def add(self, offset: int, payload: bytes) -> None:
        """Raises BrokenFrames."""
        size = len(payload)
        if self.ended or not 0 < size <= min(self._credit, MAX_PAYLOAD) or offset != self._offset:
            raise BrokenFrames(
                f"{size} bytes of input at {offset}, due at {self._offset} with {self._credit} left"
            )
        self._offset += size
        self._credit -= size
        self._waiting.append(memoryview(payload))

    def peek(self) -> memoryview | None:
        """What the process is to get next."""
        return self._waiting[0] if self._waiting else None

    def took(self, size: int) -> None:
        """The process took so much of `peek`."""
        self._taken += size
        if size == len(self._waiting[0]):
            self._waiting.popleft()
        else:
            self._waiting[0] = self._waiting[0][size:]

    def regrant(self) -> int:
        """Credit to grant; 0 while little was used."""
        if self._taken < INPUT_WINDOW // 2:
            return 0
        granted, self._taken = self._taken, 0
        self._credit += granted
        return granted


class Output:
    """Output: what waits for the gateway, in order, and how much it will take."""

    def __init__(self, budget: Budget) -> None:
        self.size = 0
        self._budget = budget
        self._offset = 0
        self._credit = 0
        self._waiting: deque[tuple[SessionStream.ValueType, bytes]] = deque()

    @property
    def is_full(self) -> bool:
        """The process is to wait."""
        return self.size >= OUTPUT_HIGH or (self.size > 0 and self._budget.used >= self._budget.limit)

    def grant(self, credit: int) -> None:
        """Raises BrokenFrames."""
        if not credit >= 1 or self._credit + credit > MAX_CREDIT:
            raise BrokenFrames(f"a credit of {credit} bytes")
        self._credit += credit

    def add(self, stream: "SessionStream.ValueType", chunk: bytes) -> None:
        self._waiting.append((stream, chunk))
        self.size += len(chunk)
        self._budget.used += len(chunk)

    def take(self) -> "tuple[int, SessionStream.ValueType, bytes] | None":
        """Offset, stream and payload of the next data frame; None when there is none to send."""
        room = min(self._credit, MAX_PAYLOAD)
        if not self._waiting or not room:
            return None
        stream = self._waiting[0][0]
        parts = []
        size = 0
        while self._waiting and self._waiting[0][0] == stream and size < room:
            chunk = self._waiting.popleft()[1]
            if len(chunk) > room - size:
                self._waiting.appendleft((stream, chunk[room - size :]))
                chunk = chunk[: room - size]
            parts.append(chunk)
            size += len(chunk)
        offset = self._offset
        self._offset += size
        self._credit -= size
        self.size -= size
        self._budget.used -= size
        return offset, stream, parts[0] if len(parts) == 1 else b"".join(parts)

    def drop(self) -> None:
        self._waiting.clear()
        self._budget.used -= self.size
        self.size = 0

"""Offsets and credit of one session: values in, values out, no IO."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from gateway.sessions.frames import MAX_CREDIT, MAX_PAYLOAD, broken, encode_data

INPUT_WINDOW: Final = 256 * 1024
"""Bytes of input that a session takes before the node has taken them."""
SCARCE_WINDOW: Final = 16 * 1024
"""The same while the process's memory budget is spent."""
CONTROL_BURST: Final = 1000
CONTROL_RATE: Final = 100
OUTPUT_HIGH: Final = 512 * 1024
"""More output than this waits for no client: the node is asked to pause."""
OUTPUT_LOW: Final = 128 * 1024
"""Once so little waits, the node may go on."""


class Budget:
    """Bytes that all sessions of the process hold for slow readers.

    Beyond it a session holds one chunk of output and a small window of input: slow, but nobody starves.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_spent(self) -> bool:
        return self.used >= self.limit


class Inward:
    """Input: checks what the client sends against its offset and its credit, and grants further credit."""

    __slots__ = ("credit", "offset")

    def __init__(self, credit: int = INPUT_WINDOW) -> None:
        self.offset = 0
        self.credit = credit

    def take(self, offset: int, size: int) -> None:
        """Counts a data frame in. Raises Refused BROKEN_FRAMES."""
        if size > MAX_PAYLOAD:
            raise broken(f"a frame of {size} bytes, at most {MAX_PAYLOAD} are taken")
        if offset != self.offset:
            raise broken(f"data at offset {offset} where {self.offset} was due")
        if size > self.credit:
            raise broken(f"{size} bytes of data with credit for {self.credit}")
        self.offset += size
        self.credit -= size

    def resume(self, offset: int) -> None:
        """The client sends again what comes after `offset`: only so much was taken care of."""
        self.credit += self.offset - offset
        self.offset = offset

    @property
    def used(self) -> int:
        """Bytes taken since credit was last granted."""
        return INPUT_WINDOW - self.credit

    @property
    def is_due(self) -> bool:
        """Half of the window is used: time to ask whether the node has taken it, and to grant more."""
        return self.credit <= INPUT_WINDOW // 2

    def regrant(self, *, scarce: bool) -> int:
        """Credit to grant once the node has taken what came; little when memory is scarce, possibly none."""
        room = max(0, (SCARCE_WINDOW if scarce else INPUT_WINDOW) - self.credit)
        self.credit += room
        return room


class Pace:
    """Frames that need no credit are let through at a person's pace: a burst, then so many a second."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(CONTROL_BURST)
        self._at = 0.0

    def take(self, now: float) -> None:
        """Counts one frame in; `now` is in seconds and never goes back. Raises Refused BROKEN_FRAMES."""
        self._left = min(CONTROL_BURST, self._left + (now - self._at) * CONTROL_RATE)
        self._at = now
        if self._left < 1:
            raise broken("too many resizes and signals at once")
        self._left -= 1


@dataclass(slots=True)
class Recorded:
    """How far the recording has each stream.

    A node that is rewound says things again: they go on to the client, but not into the recording. `repeated` are
    the bytes of output that come next and are in it already.
    """

    main: int = 0
    errors: int = 0
    input: int = 0
    input_ended: bool = False
    exited: bool = False
    repeated: int = 0

    @property
    def output(self) -> int:
        """Bytes of both streams of output, which is how nodes and clients count them."""
        return self.main + self.errors

    @property
    def next_output(self) -> int:
        """The offset of the output that comes next."""
        return self.main + self.errors - self.repeated

    def rewound(self, offset: int) -> None:
        """Output comes again from `offset` on."""
        self.repeated = self.main + self.errors - offset

    def new_output(self, chunk: bytes) -> bytes:
        """What of the next chunk is not in it yet."""
        known = min(self.repeated, len(chunk))
        self.repeated -= known
        return chunk[known:]

    def new_input(self, offset: int, chunk: bytes) -> bytes:
        """What of input at `offset` is not in it yet."""
        return chunk[max(0, self.input - offset) :]


class Outward:
    """Output: what waits for the client, in order, and how much of it the client will take."""

    __slots__ = ("_budget", "_waiting", "acknowledged", "credit", "offset", "size")

    def __init__(self, credit: int, budget: Budget, offset: int = 0) -> None:
        self.offset = offset
        self.acknowledged = offset
        """What the client has, as its credit tells: it comes back for output that was taken."""
        self.credit = credit
        self.size = 0
        self._budget = budget
        self._waiting: deque[tuple[int, bytes | memoryview]] = deque()

    @property
    def is_full(self) -> bool:
        """The node should pause."""
        return self.size > OUTPUT_HIGH or (self._budget.is_spent and self.size > 0)

    @property
    def is_low(self) -> bool:
        """The node may go on."""
        return not self.size or (self.size <= OUTPUT_LOW and not self._budget.is_spent)

    @property
    def is_ready(self) -> bool:
        return self.size > 0 and self.credit > 0

    def grant(self, credit: int) -> None:
        """The client takes `credit` bytes more. Raises Refused BROKEN_FRAMES."""
        if not 1 <= credit <= MAX_CREDIT or self.credit + credit > MAX_CREDIT:
            raise broken(f"a credit of {credit} bytes; 1 to {MAX_CREDIT} may be open")
        self.credit += credit
        self.acknowledged = min(self.acknowledged + credit, self.offset)

    def add(self, stream: int, chunk: bytes | memoryview) -> None:
        size = len(chunk)
        if size:
            self._waiting.append((stream, chunk))
            self.size += size
            self._budget.used += size

    def next_frame(self) -> bytes | None:
        """The next data frame, as large as credit and what waits allow; None when there is none to send."""
        room = min(self.credit, MAX_PAYLOAD)
        if not self._waiting or not room:
            return None
        stream = self._waiting[0][0]
        parts: list[bytes | memoryview] = []
        size = 0
        while self._waiting and self._waiting[0][0] == stream and size < room:
            chunk = self._waiting.popleft()[1]
            if len(chunk) > room - size:
                view = memoryview(chunk)
                self._waiting.appendleft((stream, view[room - size :]))
                chunk = view[: room - size]
            parts.append(chunk)
            size += len(chunk)
        frame = encode_data(self.offset, stream, parts, size)
        self.offset += size
        self.credit -= size
        self.size -= size
        self._budget.used -= size
        return frame

    def drop(self) -> int:
        """Lets go of everything that waits; the number of bytes."""
        dropped, self.size = self.size, 0
        self._budget.used -= dropped
        self._waiting.clear()
        return dropped

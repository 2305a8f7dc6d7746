"""Offsets, credit and memory of one session, seen from the node: values in, values out.

Both go on over calls. What a call sent is kept where the session can be resumed, until it is said to be durable.
"""

from collections import deque

from clients.agent.pieces import SMALL_PIECE, Piece
from jitgate.v1.session_pb2 import SessionStream

MAX_PAYLOAD = 256 * 1024
"""Bytes of data in one frame, either way."""
INPUT_WINDOW = 256 * 1024
"""Bytes of input that a session takes before the process has taken them."""
INPUT_HIGH = 1024 * 1024
"""With so much input left over from earlier calls, a further one may bring little."""
LEAST_WINDOW = 4096
OUTPUT_HIGH = 512 * 1024
"""With so much output waiting the process is not read from."""
KEPT_HIGH = 2 * 1024 * 1024
"""The same where output is kept, with what is kept."""
OUTPUT_FLOOR = (256 + 16) * 1024
"""What every session may hold, whatever the others do: a client acknowledges each 256 KiB."""
LEAST_READ = 16 * 1024
"""Less room than this is none, for reading bit by bit costs more than it brings."""
MAX_CREDIT = 16 * 1024 * 1024


class BrokenFrames(Exception):
    """The other side did not keep to the contract; the text says how."""


class Budget:
    """Bytes of output that all sessions hold. Beyond it each holds its floor: slow, but none starves."""

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self.limit = limit
        self.used = 0


class Input:
    """Input: what came, checked, and what the process has not taken yet."""

    def __init__(self) -> None:
        self.ended = False
        self.offset = 0
        """The bytes that came, over all calls."""
        self._window = self._credit = INPUT_WINDOW
        self._taken = 0
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._earlier = 0

    def renew(self) -> int:
        """A further call begins; the credit that it begins with. What came by an earlier one gives none back."""
        self._earlier = self._size
        self._taken = 0
        self._window = self._credit = max(LEAST_WINDOW, min(INPUT_WINDOW, INPUT_HIGH - self._size))
        return self._credit

    def add(self, offset: int, payload: bytes) -> None:
        """Raises BrokenFrames."""
        size = len(payload)
        if self.ended or not 0 < size <= min(self._credit, MAX_PAYLOAD) or offset != self.offset:
            raise BrokenFrames(f"{size} bytes of input at {offset}, due at {self.offset} with {self._credit} left")
        self.offset += size
        self._credit -= size
        self._size += size
        if self._waiting and len(self._waiting[-1]) + size <= SMALL_PIECE:
            payload = bytes(self._waiting.pop()) + payload
        self._waiting.append(memoryview(payload))

    def peek(self) -> memoryview | None:
        """What the process is to get next."""
        return self._waiting[0] if self._waiting else None

    def took(self, size: int) -> None:
        """The process took so much of `peek`."""
        earlier = min(size, self._earlier)
        self._earlier -= earlier
        self._taken += size - earlier
        self._size -= size
        if size == len(self._waiting[0]):
            self._waiting.popleft()
        else:
            self._waiting[0] = self._waiting[0][size:]

    def regrant(self) -> int:
        """Credit to grant; 0 while little was used."""
        if self._taken < self._window // 2:
            return 0
        granted, self._taken = self._taken, 0
        self._credit += granted
        return granted


class Output:
    """Output: what waits for the gateway, in order, and how much it will take; and what it may ask for again.

    Offsets are `oldest` <= `cursor` <= `newest`: what is kept begins, what comes next, what was said so far ends.
    """

    def __init__(self, budget: Budget, *, is_kept: bool = False) -> None:
        """Without `is_kept` what was taken is gone."""
        self.is_kept = is_kept
        self.oldest = self.cursor = self.newest = 0
        self._budget = budget
        self._credit = 0
        self._sent: deque[Piece] = deque()
        self._waiting: deque[Piece] = deque()

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self.newest - self.oldest

    @property
    def waiting(self) -> int:
        """Bytes that are still to be sent."""
        return self.newest - self.cursor

    @property
    def room(self) -> int:
        """How much the process may say now; with 0 it is to wait."""
        limit = KEPT_HIGH if self.is_kept else OUTPUT_HIGH
        if self._budget.used >= self._budget.limit:
            limit = OUTPUT_FLOOR
        room = limit - self.size
        return room if room >= LEAST_READ else 0

    def grant(self, credit: int) -> None:
        """Raises BrokenFrames."""
        if not credit >= 1 or self._credit + credit > MAX_CREDIT:
            raise BrokenFrames(f"a credit of {credit} bytes")
        self._credit += credit

    def add(self, stream: "SessionStream.ValueType", chunk: bytes) -> None:
        _append(self._waiting, Piece(chunk, stream))
        self.newest += len(chunk)
        self._budget.used += len(chunk)

    def take(self) -> "tuple[int, SessionStream.ValueType, bytes] | None":
        """Offset, stream and payload of the next data frame; None when there is none to send."""
        room = min(self._credit, MAX_PAYLOAD)
        if not self._waiting or not room:
            return None
        stream = self._waiting[0].stream
        parts = []
        size = 0
        while self._waiting and self._waiting[0].stream == stream and size < room:
            piece = self._pop(min(room - size, self._waiting[0].run()))
            parts.append(piece.data)
            size += len(piece.data)
        payload = parts[0] if len(parts) == 1 else b"".join(parts)
        offset = self.cursor
        self.cursor += size
        self._credit -= size
        if self.is_kept:
            _append(self._sent, Piece(payload, stream))
        else:
            self._release(self.cursor)
        return offset, stream, payload

    def durable(self, offset: int) -> None:
        """What lies before is asked for no more. Raises BrokenFrames."""
        if not self.is_kept or not self.oldest <= offset <= self.cursor:
            raise BrokenFrames(f"output durable up to {offset}, kept from {self.oldest}, sent up to {self.cursor}")
        kept = self.oldest
        while kept < offset:
            piece = self._sent.popleft()
            if len(piece.data) > offset - kept:
                self._sent.appendleft(piece.split(offset - kept)[1])
                break
            kept += len(piece.data)
        self._release(offset)

    def rewind(self, offset: int) -> None:
        """A further call begins, without any credit: goes on at `offset`, wherever an earlier one stopped.

        Raises BrokenFrames: that is not there.
        """
        if not self.oldest <= offset <= self.newest:
            raise BrokenFrames(f"output wanted from {offset}, which is there from {self.oldest} to {self.newest}")
        self._credit = 0
        while self.cursor > offset:
            piece = self._sent.pop()
            begins = self.cursor - len(piece.data)
            if begins < offset:
                kept, piece = piece.split(offset - begins)
                self._sent.append(kept)
            self._waiting.appendleft(piece)
            self.cursor -= len(piece.data)
        while self.cursor < offset:
            piece = self._pop(offset - self.cursor)
            self._sent.append(piece)
            self.cursor += len(piece.data)

    def drop(self) -> None:
        """Nothing is to be sent any more."""
        self._sent.clear()
        self._waiting.clear()
        self.cursor = self.newest
        self._release(self.newest)

    def _pop(self, most: int) -> Piece:
        piece = self._waiting.popleft()
        if len(piece.data) > most:
            piece, rest = piece.split(most)
            self._waiting.appendleft(rest)
        return piece

    def _release(self, offset: int) -> None:
        self._budget.used -= offset - self.oldest
        self.oldest = offset


def _append(pieces: deque[Piece], piece: Piece) -> None:
    if pieces and (joined := pieces[-1].joined(piece)) is not None:
        pieces[-1] = joined
    else:
        pieces.append(piece)

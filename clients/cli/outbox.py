"""Input on its way to the node: what waits to be sent, and the last of what was, should it be needed again."""

AHEAD = 256 << 10  # bytes that may be read before they can be sent


class Outbox:
    """Bytes by their offset in the whole input. The last `keep` bytes that were sent can be sent again."""

    def __init__(self, offset: int, keep: int) -> None:
        self.sent = offset  # the offset of the byte that is sent next
        self._keep = keep
        self._first = offset
        self._bytes = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes that are still to be sent."""
        return self._first + len(self._bytes) - self.sent

    @property
    def room(self) -> int:
        """Bytes that may be put in though nothing can be sent."""
        return AHEAD - self.waiting

    def put(self, data: bytes) -> None:
        self._bytes += data

    def take(self, limit: int) -> bytes:
        """The next bytes to send, `limit` at most; they count as sent."""
        at = self.sent - self._first
        with memoryview(self._bytes) as view:
            data = bytes(view[at : at + limit])
        self.sent += len(data)
        if (old := self.sent - self._first - self._keep) > 0:
            del self._bytes[:old]
            self._first += old
        return data

    def rewind(self, offset: int) -> None:
        """What was sent from `offset` on waits again. ValueError when it was never sent or is kept no more."""
        if not self._first <= offset <= self.sent:
            raise ValueError(f"bytes {self._first} to {self.sent} are kept, not those from {offset} on")
        self.sent = offset

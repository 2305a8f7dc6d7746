"""Output as it is kept: bytes, and which stream each of them is of."""

from dataclasses import dataclass

from jitgate.v1.session_pb2 import SessionStream

SMALL_PIECE = 4096
"""What is smaller is put together, so that a process that says one byte at a time costs no more than its bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one stream; or of both by turns, then `marks` has the stream of each byte."""

    data: bytes
    stream: "SessionStream.ValueType"
    """Of the first byte."""
    marks: bytes = b""

    def run(self) -> int:
        """How many bytes of `stream` it begins with."""
        return len(self.marks) - len(self.marks.lstrip(self.marks[:1])) or len(self.data)

    def split(self, at: int) -> "tuple[Piece, Piece]":
        """Neither is empty: `at` lies within it."""
        if not self.marks:
            return Piece(self.data[:at], self.stream), Piece(self.data[at:], self.stream)
        return _marked(self.data[:at], self.marks[:at]), _marked(self.data[at:], self.marks[at:])

    def joined(self, other: "Piece") -> "Piece | None":
        """Both in one; None where they are too large to be copied for that."""
        if len(self.data) + len(other.data) > SMALL_PIECE:
            return None
        if self.stream == other.stream and not self.marks and not other.marks:
            return Piece(self.data + other.data, self.stream)
        return Piece(self.data + other.data, self.stream, self.each() + other.each())

    def each(self) -> bytes:
        """The stream of each byte."""
        return self.marks or bytes((self.stream,)) * len(self.data)


def _marked(data: bytes, marks: bytes) -> Piece:
    is_mixed = marks.count(marks[0]) < len(marks)
    return Piece(data, SessionStream.ValueType(marks[0]), marks if is_mixed else b"")

"""The frames of a session, whatever carries them: where they come from, where they go, what they may hold."""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.errors import Kind, Refused
from jitgate.v1.session_pb2 import SessionFrame

MAX_PAYLOAD: Final = 256 * 1024
"""Bytes of data in one frame, either way."""
MAX_CREDIT: Final = 16 * 1024 * 1024
"""Bytes that may be granted and not yet used, either way."""
MAX_TERMINAL_SIDE: Final = 10_000
SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM", "PIPE"})


class FrameSource(Protocol):
    """What the client sends."""

    async def receive(self) -> SessionFrame | None:
        """The next frame; None once the client sends no more. Raises ConnectionError when the client is gone."""


class FrameSink(Protocol):
    """What the client gets: encoded SessionFrame messages, in order."""

    async def send(self, frame: bytes) -> None:
        """Returns when there is room for another. Raises ConnectionError when the client is gone."""


def broken(what: str) -> Refused:
    """The client did not keep to the contract; its session ends."""
    return Refused(
        Kind.INVALID_ARGUMENT,
        "BROKEN_FRAMES",
        f"the client broke the session's protocol: {what}",
        "Update the client; if it is up to date, report this.",
    )


def encode(frame: SessionFrame) -> bytes:
    return frame.SerializeToString()


def encode_data(offset: int, stream: int, parts: Sequence[bytes | memoryview], size: int) -> bytes:
    """A data frame of `parts`, `size` bytes together, which are copied once.

    Written by hand since the generated code copies bulk data three times; a test holds the two together.
    """
    head = b"\x08" + _varint(offset) + b"\x12" + _varint(size) if offset else b"\x12" + _varint(size)
    tail = b"\x18" + _varint(stream) if stream else b""
    return b"".join((b"\x1a", _varint(len(head) + size + len(tail)), head, *parts, tail))


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

"""Events as bytes: the head of an event, its payload, and the running tally that gives offsets a meaning.

A head is 12 bytes, big-endian: one byte kind, three bytes length of the payload, eight bytes microseconds since
the session's start. Offsets are not in it: they follow from the tally, and a GAP says where one jumps.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from recorder.errors import DamagedRecording
from recorder.model import STREAM_OF, Event, Gap, Kind, Stream

HEAD: Final = struct.Struct(">IQ")
MAX_PAYLOAD: Final = 4 * 1024 * 1024
TAG_BYTES: Final = 16

_LENGTH: Final = struct.Struct(">I")
_SIZE: Final = struct.Struct(">HH")
_EXIT: Final = struct.Struct(">i")
_GAP: Final = struct.Struct(">BQQ")


def kind_of(word: int) -> Kind:
    """The kind in the first four bytes of a head. Raises DamagedRecording for one that nobody knows."""
    try:
        return Kind(word >> 24)
    except ValueError:
        raise DamagedRecording(f"an event of unknown kind {word >> 24}; a newer version wrote it") from None


def input_payload(length: int) -> bytes:
    return _LENGTH.pack(length)


def resize_payload(columns: int, rows: int) -> bytes:
    return _SIZE.pack(columns, rows)


def exit_payload(status: int, signal: str) -> bytes:
    return _EXIT.pack(status) + signal.encode()


def gap_payload(stream: Stream | None, next_offset: int, lost_bytes: int, reason: str) -> bytes:
    """`stream` None: a gap in time, no offset moves."""
    return _GAP.pack(stream or 0, next_offset, lost_bytes) + reason.encode()


def input_length(kind: Kind, payload: bytes) -> int:
    """Bytes of input that an INPUT or INPUT_CONTENT event stands for."""
    if kind is Kind.INPUT:
        return int(_unpack(_LENGTH, payload)[0])
    if len(payload) < TAG_BYTES:
        raise DamagedRecording("sealed input is shorter than its tag")
    return len(payload) - TAG_BYTES


def resize_of(payload: bytes) -> tuple[int, int]:
    columns, rows = _unpack(_SIZE, payload)
    return columns, rows


def exit_of(payload: bytes) -> tuple[int, str]:
    """Exit status and the name of the signal, empty where there was none."""
    return int(_unpack(_EXIT, payload[:4])[0]), text_of(payload[4:])


def gap_of(payload: bytes) -> tuple[Stream | None, int, int, str]:
    """Stream (None: time only), next offset, lost bytes, reason."""
    number, next_offset, lost = _unpack(_GAP, payload[: _GAP.size])
    try:
        stream = Stream(number) if number else None
    except ValueError:
        raise DamagedRecording(f"a gap in unknown stream {number}") from None
    return stream, next_offset, lost, text_of(payload[_GAP.size :])


def text_of(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise DamagedRecording("text in an event is not UTF-8") from None


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise DamagedRecording(f"a payload of {len(payload)} bytes where {layout.size} belong")
    return layout.unpack(payload)


@dataclass(slots=True)
class Tally:
    """Where a recording stands after its last event: next offset of each stream, terminal size, how it ended.

    `input_ended` says that the user sends no more.
    """

    columns: int
    rows: int
    output: int = 0
    stderr: int = 0
    input: int = 0
    last_us: int = 0
    exit_status: int | None = None
    ended: str | None = None
    input_ended: bool = False
    gaps: list[Gap] = field(default_factory=list)

    def copy(self) -> Tally:
        twin = copy.copy(self)
        twin.gaps = list(self.gaps)
        return twin

    def offset(self, stream: Stream) -> int:
        return (self.output, self.stderr, self.input)[stream - 1]

    def move(self, stream: Stream, offset: int) -> None:
        if stream is Stream.OUTPUT:
            self.output = offset
        elif stream is Stream.STDERR:
            self.stderr = offset
        else:
            self.input = offset

    def take(self, kind: Kind, time_us: int, payload: bytes) -> int:
        """Count one event in; the offset that it has. Raises DamagedRecording where the payload is malformed."""
        offset = 0
        stream = STREAM_OF.get(kind)
        if stream is not None:
            offset = self.offset(stream)
            length = input_length(kind, payload) if stream is Stream.INPUT else len(payload)
            self.move(stream, offset + length)
        elif kind is Kind.RESIZE:
            self.columns, self.rows = resize_of(payload)
        elif kind is Kind.EOF:
            self.input_ended = self.input_ended or payload == bytes((Stream.INPUT,))
        elif kind is Kind.EXIT:
            self.exit_status = exit_of(payload)[0]
        elif kind is Kind.GAP:
            moved, next_offset, lost, reason = gap_of(payload)
            if moved is not None:
                self.move(moved, next_offset)
            self.gaps.append(Gap(time_us, lost, reason))
        elif kind is Kind.END:
            self.ended = text_of(payload)
        self.last_us = time_us
        return offset


@dataclass(slots=True)
class Batch:
    """The events of one segment: heads in one column, payloads in another, and the tally they start from.

    Two columns, because zstd finds more, faster, in each of them than in a mixture; byte arrays, because an event
    then costs no object of its own.
    """

    start: Tally
    heads: bytearray = field(default_factory=bytearray)
    payloads: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.heads) // HEAD.size

    def add(self, kind: int, time_us: int, payload: bytes) -> None:
        self.heads += HEAD.pack(kind << 24 | len(payload), time_us)
        self.payloads += payload

    def events(self) -> Iterator[Event]:
        """Every event with its offset. Raises DamagedRecording."""
        tally = self.start.copy()
        for kind, time_us, payload in self._parsed():
            yield Event(kind, time_us, tally.take(kind, time_us, payload), payload)

    def end(self) -> Tally:
        """The tally after the last event. Raises DamagedRecording."""
        tally = self.start.copy()
        for kind, time_us, payload in self._parsed():
            tally.take(kind, time_us, payload)
        return tally

    def check(self) -> None:
        """Raises DamagedRecording where the columns do not fit each other."""
        if len(self.heads) % HEAD.size:
            raise DamagedRecording("the column of heads ends within a head")
        length = sum(word & 0xFFFFFF for word, _ in HEAD.iter_unpack(self.heads))
        if length != len(self.payloads):
            raise DamagedRecording(
                f"the heads tell of {length} payload bytes, the column has {len(self.payloads)}"
            )

    def begins_with(self, other: Batch, count: int) -> bool:
        """Whether the first `count` events of `other` are the first of this batch."""
        heads = other.heads[: count * HEAD.size]
        length = sum(word & 0xFFFFFF for word, _ in HEAD.iter_unpack(heads))
        return self.heads.startswith(heads) and self.payloads.startswith(other.payloads[:length])

    def starts_at(self, tally: Tally) -> bool:
        """Whether this batch goes on where `tally` is."""
        ours = self.start
        return (ours.output, ours.stderr, ours.input, ours.columns, ours.rows) == (
            tally.output,
            tally.stderr,
            tally.input,
            tally.columns,
            tally.rows,
        )

    def times(self) -> tuple[int, int]:
        """When the first event was, and the last; there must be one."""
        return HEAD.unpack_from(self.heads)[1], HEAD.unpack_from(self.heads, len(self.heads) - HEAD.size)[1]

    def _parsed(self) -> Iterator[tuple[Kind, int, bytes]]:
        position = 0
        for word, time_us in HEAD.iter_unpack(self.heads):
            length = word & 0xFFFFFF
            yield kind_of(word), time_us, bytes(self.payloads[position : position + length])
            position += length

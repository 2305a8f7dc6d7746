"""The journal: what a session's relay writes before it passes a chunk on, in parts of one segment each.

A part is a run of records: four bytes length, then AES-256-GCM ciphertext of one event (20 bytes: head and
offset; then the payload). The nonce is the part's number and the record's place in it, so a record cannot move.
A part is written by one process and never appended to by another.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recorder.errors import DamagedRecording
from recorder.events import (
    HEAD,
    MAX_PAYLOAD,
    TAG_BYTES,
    Batch,
    Tally,
    gap_payload,
    kind_of,
)
from recorder.model import STREAM_OF, Kind
from recorder.sealing import record_nonce

RECORD: Final = struct.Struct(">IQQ")
_LENGTH: Final = struct.Struct(">I")
_NONCE: Final = struct.Struct(">IQ")
DAMAGED: Final = "damaged in the spool"
_MOST: Final = RECORD.size + MAX_PAYLOAD + TAG_BYTES


class Part:
    """An open part file and, as long as memory allows, its events as they will go into the segment."""

    __slots__ = (
        "_records",
        "_seal",
        "batch",
        "dirty",
        "fd",
        "fresh",
        "kept",
        "number",
        "path",
        "raw_size",
        "size",
        "start",
    )

    def __init__(self, path: Path, number: int, seal: AESGCM, start: Tally) -> None:
        """Create the file. Raises OSError."""
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.path = path
        self.number = number
        self.start = start
        self.batch: Batch | None = Batch(start)
        self.raw_size = 0
        self.size = 0
        self.kept = 0
        self.dirty = False
        self.fresh = True
        self._seal = seal
        self._records = 0

    def write(self, kind: int, time_us: int, offset: int, payload: bytes | bytearray | memoryview) -> int:
        """One event into the file, in one write; how many bytes that took there.

        Raises OSError; then the part takes no more.
        """
        length = len(payload)
        head = RECORD.pack(kind << 24 | length, time_us, offset)
        sealed = self._seal.encrypt(_NONCE.pack(self.number, self._records), b"".join((head, payload)), None)
        length_on_disk = _LENGTH.size + len(sealed)
        self._records += 1
        if os.writev(self.fd, (_LENGTH.pack(len(sealed)), sealed)) != length_on_disk:
            raise OSError("short write: the disk under the spool is full")
        batch = self.batch
        if batch is not None:
            batch.heads += head[: HEAD.size]
            batch.payloads += payload
        self.raw_size += HEAD.size + length
        self.size += length_on_disk
        return length_on_disk

    def require_own(self) -> None:
        """Raises OSError where the file is gone from its place: nobody will read what is written into it."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        if found is None or not os.path.samestat(found, os.fstat(self.fd)):
            raise OSError("another writer took over what is there")

    def close(self) -> None:
        """Give the file descriptor back; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Reading:
    """What a part file holds. `torn` counts the bytes of a last record that was not written to its end."""

    batch: Batch
    torn: int


def read_part(data: bytes, number: int, seal: AESGCM, start: Tally) -> Reading:
    """The events of a part, as far as they can be read; never raises for damage.

    A torn last record is dropped: it was never passed on, since the write comes first. Anything else that does
    not open becomes a gap that counts its bytes, and what follows it is still read.
    """
    batch = Batch(start)
    tally = start.copy()
    damaged = 0
    index = position = 0
    while position + _LENGTH.size <= len(data):
        (size,) = _LENGTH.unpack_from(data, position)
        if not RECORD.size + TAG_BYTES <= size <= _MOST:
            damaged += len(data) - position
            position = len(data)
            break
        if position + _LENGTH.size + size > len(data):
            break
        position += _LENGTH.size
        record = _open(seal, number, index, data[position : position + size])
        position += size
        index += 1
        if record is None:
            damaged += size
            continue
        head, payload = record
        if damaged:
            _note(batch, tally, damaged)
            damaged = 0
        _append(batch, tally, head, payload)
    if damaged:
        _note(batch, tally, damaged)
    return Reading(batch, len(data) - position)


def _open(seal: AESGCM, number: int, index: int, sealed: bytes) -> tuple[bytes, bytes] | None:
    try:
        plain = seal.decrypt(record_nonce(number, index), sealed, None)
        word, _, _ = RECORD.unpack_from(plain)
        kind_of(word)
    except (InvalidTag, DamagedRecording):
        return None
    length = len(plain) - RECORD.size
    return (plain[: RECORD.size], plain[RECORD.size :]) if word & 0xFFFFFF == length else None


def _append(batch: Batch, tally: Tally, head: bytes, payload: bytes) -> None:
    word, time_us, offset = RECORD.unpack(head)
    kind = Kind(word >> 24)
    stream = STREAM_OF.get(kind)
    if stream is not None and offset > tally.offset(stream):
        missing = gap_payload(stream, offset, offset - tally.offset(stream), DAMAGED)
        batch.add(Kind.GAP, tally.last_us, missing)
        tally.take(Kind.GAP, tally.last_us, missing)
    tally.take(kind, time_us, payload)
    batch.heads += head[: HEAD.size]
    batch.payloads += payload


def _note(batch: Batch, tally: Tally, damaged: int) -> None:
    payload = gap_payload(None, 0, damaged, "unreadable bytes in the spool")
    batch.add(Kind.GAP, tally.last_us, payload)
    tally.take(Kind.GAP, tally.last_us, payload)

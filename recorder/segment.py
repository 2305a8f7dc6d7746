"""A segment: the unit that is compressed, sealed, chained and stored.

Object: header (86 bytes, in the clear, authenticated) and AES-256-GCM ciphertext of: preamble, zstd frame of the
heads, zstd frame of the payloads. docs/recording-format.md has the layout.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from dataclasses import dataclass
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag

from recorder.errors import DamagedRecording
from recorder.events import Batch, Tally
from recorder.model import SegmentEntry
from recorder.sealing import SALT_BYTES, segment_nonce, segment_seal

MAGIC: Final = b"JGSEG\x00\x00\x01"
HEADER: Final = struct.Struct(">8s22sII32s16s")
PREAMBLE: Final = struct.Struct(">IIIQQQHH")
MAX_COLUMN: Final = 256 * 1024 * 1024
"""No column decompresses to more: a guard against bombs, far above what a writer makes."""
MAX_STORED: Final = 64 * 1024 * 1024
"""No object is longer, likewise: a writer ends a segment at 8 MiB, and no event has more than 4."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment belongs: it opens nowhere else."""

    session_id: str
    epoch: int
    sequence: int
    previous: bytes


def header_of(place: Place, salt: bytes) -> bytes:
    return HEADER.pack(MAGIC, place.session_id.encode(), place.epoch, place.sequence, place.previous, salt)


def parse_header(blob: bytes) -> tuple[Place, bytes]:
    """The place that a segment names, and its salt. Raises DamagedRecording."""
    if len(blob) < HEADER.size:
        raise DamagedRecording(f"{len(blob)} bytes are too few for a segment")
    magic, session, epoch, sequence, previous, salt = HEADER.unpack_from(blob)
    if magic != MAGIC:
        raise DamagedRecording("this is no segment: the first bytes are wrong")
    return Place(session.decode("ascii", "replace"), epoch, sequence, previous), salt


def seal_segment(place: Place, data_key: bytes, batch: Batch) -> tuple[bytes, SegmentEntry]:
    """The object to store and its entry in the manifest. CPU-bound; zstd, AES and SHA release the GIL."""
    squeeze = zstandard.ZstdCompressor(level=1).compress
    packed_heads, packed_payloads = squeeze(batch.heads), squeeze(batch.payloads)
    start = batch.start
    preamble = PREAMBLE.pack(
        len(batch),
        len(packed_heads),
        len(packed_payloads),
        start.output,
        start.stderr,
        start.input,
        start.columns,
        start.rows,
    )
    salt = secrets.token_bytes(SALT_BYTES)
    header = header_of(place, salt)
    plain = b"".join((preamble, packed_heads, packed_payloads))
    sealed = segment_seal(data_key, salt).encrypt(segment_nonce(place.sequence), plain, header)
    blob = header + sealed
    return blob, _entry(place.sequence, blob, batch)


def open_segment(blob: bytes, place: Place, data_key: bytes) -> Batch:
    """The events of a segment that belongs at `place`. Raises DamagedRecording for anything else."""
    named, salt = parse_header(blob)
    if named != place:
        raise DamagedRecording(f"this is segment {named.epoch}-{named.sequence} of {named.session_id}")
    header, sealed = blob[: HEADER.size], memoryview(blob)[HEADER.size :]
    try:
        plain = segment_seal(data_key, salt).decrypt(segment_nonce(place.sequence), sealed, header)
    except InvalidTag:
        raise DamagedRecording("the segment does not open with this recording's key") from None
    if len(plain) < PREAMBLE.size:
        raise DamagedRecording("the segment has no preamble")
    events, heads_size, payloads_size, output, stderr, input_, columns, rows = PREAMBLE.unpack_from(plain)
    if PREAMBLE.size + heads_size + payloads_size != len(plain):
        raise DamagedRecording("the segment's columns do not fill it")
    middle = PREAMBLE.size + heads_size
    start = Tally(columns=columns, rows=rows, output=output, stderr=stderr, input=input_)
    batch = Batch(start, _inflate(plain[PREAMBLE.size : middle]), _inflate(plain[middle:]))
    batch.check()
    if len(batch) != events:
        raise DamagedRecording(f"the segment holds {len(batch)} events and says {events}")
    return batch


def entry_of(blob: bytes, batch: Batch) -> SegmentEntry:
    """The manifest entry of a stored segment that was opened."""
    if not batch:
        raise DamagedRecording("a segment without events")
    return _entry(parse_header(blob)[0].sequence, blob, batch)


def _entry(sequence: int, blob: bytes, batch: Batch) -> SegmentEntry:
    first_us, last_us = batch.times()
    return SegmentEntry(
        sequence=sequence,
        size=len(blob),
        sha256=hashlib.sha256(blob).hexdigest(),
        raw_size=len(batch.heads) + len(batch.payloads),
        events=len(batch),
        first_us=first_us,
        last_us=last_us,
        columns=batch.start.columns,
        rows=batch.start.rows,
    )


def _inflate(packed: bytes) -> bytearray:
    try:
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= MAX_COLUMN:
            raise DamagedRecording(f"a column of {size} bytes")
        return bytearray(zstandard.ZstdDecompressor().decompress(packed))
    except zstandard.ZstdError as broken:
        raise DamagedRecording(f"zstd: {broken}") from None

"""The values of a recording: who was recorded, what happened, what was stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Final

from recorder.canonical import LATER
from recorder.errors import RecorderError

FIRST_EPOCH: Final = 1
GENESIS: Final = bytes(32)
"""What the first segment of a recording names as the hash of the segment before it."""

MAX_SIZE: Final = 65535
"""The most columns or rows that a terminal can have."""

_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SESSION = re.compile(r"s-[0-9a-f]{20}")


class Kind(IntEnum):
    """What an event says. The numbers are part of the format and never change their meaning."""

    OUTPUT = 1
    STDERR = 2
    INPUT = 3
    INPUT_CONTENT = 4
    RESIZE = 5
    SIGNAL = 6
    EOF = 7
    NOTICE = 8
    EXIT = 9
    GAP = 10
    END = 11


class Stream(IntEnum):
    """Which direction came to its end; the payload of an EOF event."""

    OUTPUT = 1
    STDERR = 2
    INPUT = 3


STREAM_OF: Final = {
    Kind.OUTPUT: Stream.OUTPUT,
    Kind.STDERR: Stream.STDERR,
    Kind.INPUT: Stream.INPUT,
    Kind.INPUT_CONTENT: Stream.INPUT,
}
"""Which stream an event belongs to that carries bytes of one."""


class Durability(StrEnum):
    """What `Recording.durable` waits for: the kernel has the bytes, or the disk has them.

    STORE is SYNC with small objects, so that what is `secured` because the object store has it is not far behind.
    """

    PROCESS = "process"
    SYNC = "sync"
    STORE = "store"


class Purpose(StrEnum):
    """What a data key is for: everything, or the content of input alone."""

    RECORDING = "recording"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who is recorded, where, and under which request; `kind` is shell, exec or rdp.

    `organization` is None in recordings that were begun before there was one: their keys are not bound to it.
    """

    session_id: str
    request_id: str
    user: str
    node: str
    account: str = "default"
    region: str = "default"
    login: str = ""
    kind: str = "shell"
    command: str = ""
    terminal: str = "xterm-256color"
    columns: int = 80
    rows: int = 24
    record_input_content: bool = False
    organization: str | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if not _SESSION.fullmatch(self.session_id):
            raise RecorderError(f"not a session id: {self.session_id!r}; expected s- and 20 hex digits")
        if not (0 <= self.columns <= MAX_SIZE and 0 <= self.rows <= MAX_SIZE):
            raise RecorderError(f"not a terminal's size: {self.columns} columns, {self.rows} rows")
        named = (("account", self.account), ("region", self.region), ("organization", self.organization))
        for name, value in named:
            if value is not None and not _SCOPE.fullmatch(value):
                raise RecorderError(f"not a name for the {name}: {value!r}")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened `time_us` microseconds after the session's start.

    `offset` is the position of the payload's first byte in its own direction (output, stderr, input) and 0
    for the other kinds. What the payload holds for each kind is told in docs/recording-format.md.
    """

    kind: Kind
    time_us: int
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One stored segment, as the manifest lists it.

    `size` and `sha256` are those of the stored object, header and ciphertext; `raw_size` counts its events'
    bytes before compression. `columns` and `rows` are the terminal's size where the segment begins.
    """

    sequence: int
    size: int
    sha256: str
    raw_size: int
    events: int
    first_us: int
    last_us: int
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one writer wrote: its wrapped data keys and its stretch of the chain of segments, in order.

    `wrapped_input_key` is None where the content of input was not recorded. `head` is the hash of the last segment
    of this epoch or, where it has none, of those before it; 64 zeros where there is none at all.
    """

    epoch: int
    key_provider: str
    wrapped_key: bytes
    wrapped_input_key: bytes | None
    segments: tuple[SegmentEntry, ...]
    head: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of which something is or may be missing; `lost_bytes` is 0 where nobody can know."""

    time_us: int
    lost_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What closes a recording. `session.columns` and `.rows` are the terminal's size at the start.

    `recovered` says that the last writer died and another process finished the recording from its spool.
    """

    session: SessionInfo
    started_at: datetime
    ended_at: datetime
    ended: str
    recovered: bool
    epochs: tuple[Epoch, ...]
    bytes_out: int
    bytes_stderr: int
    bytes_in: int
    gaps: tuple[Gap, ...]
    exit_status: int | None

    @property
    def prefix(self) -> str:
        """The folder of this recording in the object store, ending in a slash."""
        return prefix_of(self.session, self.started_at)

    @property
    def events(self) -> int:
        return sum(segment.events for epoch in self.epochs for segment in epoch.segments)

    @property
    def duration_us(self) -> int:
        return max((s.last_us for epoch in self.epochs for s in epoch.segments), default=0)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A spool that could not be finished: moved aside, with its reason, for a person to look at."""

    session_id: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """What a recording has in the spool. `stored` and `waiting` count segments; `is_open`: more may come."""

    session_id: str
    spool_bytes: int
    stored: int
    waiting: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a look at the spools of dead writers came to.

    `waiting` names sessions that are tried again: a key provider or an object store could not be reached. `held`
    names those that were not ended, and can be resumed.
    """

    finished: tuple[Manifest, ...]
    quarantined: tuple[Quarantined, ...]
    waiting: tuple[str, ...]
    held: tuple[str, ...] = ()


def prefix_of(session: SessionInfo, started_at: datetime) -> str:
    """`<account>/<region>/<yyyy>/<mm>/<dd>/<session id>/`, the day in UTC."""
    day = started_at.astimezone(UTC).strftime("%Y/%m/%d")
    return f"{session.account}/{session.region}/{day}/{session.session_id}/"


def segment_name(prefix: str, epoch: int, sequence: int) -> str:
    """Object name of a segment below the recording's `prefix`."""
    return f"{prefix}{epoch:04d}-{sequence:06d}.seg"


def manifest_name(prefix: str, epoch: int = FIRST_EPOCH) -> str:
    """Object name of the manifest that the writer of `epoch` left."""
    return f"{prefix}manifest-{epoch:04d}.json"


def encryption_context(session: SessionInfo) -> dict[str, str]:
    """What the data keys are bound to.

    For playback, build `session` from the authorized database row, never from the manifest: so a manifest that
    somebody laid under another session's name opens nothing. Only the organization, the same for all of a gateway,
    is the manifest's.
    """
    organization = {} if session.organization is None else {"organization": session.organization}
    return {
        **organization,
        "account": session.account,
        "region": session.region,
        "request": session.request_id,
        "session": session.session_id,
    }


def key_context(context: Mapping[str, str], epoch: int, purpose: Purpose) -> dict[str, str]:
    """The encryption context of one data key."""
    return {**context, "epoch": str(epoch), "purpose": purpose.value}

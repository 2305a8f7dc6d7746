"""A recording in the making: what the relay writes to before it passes a chunk on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recorder import canonical
from recorder.chain import Chain
from recorder.errors import RecordingFailed, RepeatedOffset
from recorder.events import (
    HEAD,
    MAX_PAYLOAD,
    exit_payload,
    gap_payload,
    input_payload,
    resize_payload,
)
from recorder.journal import Part
from recorder.model import MAX_SIZE, Durability, Kind, Manifest, Pending, Stream
from recorder.ports import Ticks
from recorder.recovery import LOST_SPOOL
from recorder.room import Room
from recorder.sealing import input_nonce
from recorder.syncing import GroupSync
from recorder.uploading import Memory, Uploader

_OUTPUT: Final = int(Kind.OUTPUT)
"""A plain number: shifting a member of an enum costs as much as the rest of an event's head."""

_SUSPENDED: Final = "the recording is suspended; the next start may resume it"

PAUSE_SECONDS: Final = 1.0
"""Whoever wrote nothing for so long looks whether the spool is still its own: it may have been stopped."""

_PAUSE_NS: Final = int(PAUSE_SECONDS * 1e9)

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Shared:
    """What all recordings of a process have in common.

    A part becomes a segment when it has `segment_bytes` (before compression) or is `segment_seconds` old.
    """

    sync: GroupSync
    memory: Memory
    room: Room
    segment_bytes: int
    segment_seconds: float
    durability: Durability
    ticks: Ticks


class Recording:
    """One session's recording. Belongs to one event loop.

    The writing methods are synchronous: when they return, the event is in the spool and the chunk may go on. They
    raise RecordingFailed when the recording can take no more; then nothing more may be passed on.
    """

    def __init__(
        self,
        chain: Chain,
        seal: AESGCM,
        input_seal: AESGCM | None,
        *,
        shared: Shared,
        finish: Callable[[Recording], Coroutine[None, None, Manifest]],
        began_us: int = 0,
    ) -> None:
        """`began_us`: how long the session has been going on, by the epochs before and by the wall clock."""
        self.session = chain.head.session
        self.uploader = Uploader(chain, seal, shared.sync, shared.memory, shared.room, failed=self.fail)
        self.abandoned = False
        self._folder = chain.folder
        self._seal = seal
        self._input_seal = input_seal
        self._sync = shared.sync
        self._memory = shared.memory
        self._room = shared.room
        self._segment_bytes = shared.segment_bytes
        self._segment_seconds = shared.segment_seconds
        self._durability = shared.durability
        self._ticks = shared.ticks
        self._finish = finish
        self._began = shared.ticks() - began_us * 1000
        self._wrote = shared.ticks()
        self._tally = chain.tally.copy()
        self._part: Part | None = None
        self._parts = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: str | None = None
        self._failure: str | None = None
        self._has_failed = asyncio.Event()
        self._closing: asyncio.Task[Manifest] | None = None

    @property
    def recorded(self) -> int:
        """How many bytes of output and stderr are recorded, by all epochs: the next offset of the two together."""
        return self._tally.output + self._tally.stderr

    @property
    def secured(self) -> int:
        """How many of those nobody need be able to say again, in case this process and its disk are lost.

        Under STORE: what the object store has. Else what is recorded.
        """
        if self._durability is not Durability.STORE:
            return self.recorded
        stored = self.uploader.chain.tally
        return stored.output + stored.stderr

    @property
    def head(self) -> bytes | None:
        """Under STORE: with this and the object store another recorder can take it over without the spool."""
        return canonical.dump(self.uploader.chain.head) if self._durability is Durability.STORE else None

    @property
    def was_lost(self) -> bool:
        """It was taken over without its spool: more may have been typed than it knows of."""
        return any(gap.reason == LOST_SPOOL for gap in self._tally.gaps)

    @property
    def epoch(self) -> int:
        return self.uploader.chain.head.epoch

    @property
    def recorded_output(self) -> int:
        """The next offset of output."""
        return self._tally.output

    @property
    def recorded_stderr(self) -> int:
        """The next offset of stderr."""
        return self._tally.stderr

    @property
    def recorded_input(self) -> int:
        """The next offset of input."""
        return self._tally.input

    @property
    def input_ended(self) -> bool:
        """Whether it is recorded that the user sends no more."""
        return self._tally.input_ended

    @property
    def exited(self) -> bool:
        """Whether it is recorded how the command ended."""
        return self._tally.exit_status is not None

    @property
    def ended(self) -> bool:
        """Whether `close` was called."""
        return self._closing is not None

    @property
    def failure(self) -> str | None:
        """Why this recording failed and can take no more, or None."""
        return self._failure

    @property
    def spooled(self) -> int:
        """Bytes of this recording's journal that are in the spool."""
        return self.uploader.spooled + (self._part.size if self._part is not None else 0)

    def pending(self) -> Pending:
        """What of it is in the spool."""
        chain = self.uploader.chain
        stored = len(chain.entries) + sum(len(epoch.segments) for epoch in chain.earlier.epochs)
        return Pending(
            self.session.session_id, self.spooled, stored, self.uploader.waiting, is_open=not self.ended
        )

    @property
    def is_held_back(self) -> bool:
        """The spool is crowded, and this has more than its share in it: nothing more should be written."""
        return self._room.is_crowded and self.spooled > self._room.share

    async def failed(self) -> str:
        """Waits until the recording fails, also while nothing is written; returns why. Never after `close`."""
        await self._has_failed.wait()
        return self._failure or ""

    def output(self, data: Bytes, offset: int) -> None:
        """What the node printed, at most 4 MiB; `offset` counts the output bytes before it.

        Raises RecordingFailed, RepeatedOffset (bytes that were recorded before; the recording goes on). An offset
        beyond the expected one is recorded as a gap.
        """
        self._data(_OUTPUT, Stream.OUTPUT, data, len(data), offset, self._tally.output)
        self._tally.output = offset + len(data)

    def stderr(self, data: Bytes, offset: int) -> None:
        """What an exec wrote to stderr; its offsets are its own. Raises as `output` does."""
        self._data(Kind.STDERR, Stream.STDERR, data, len(data), offset, self._tally.stderr)
        self._tally.stderr = offset + len(data)

    def input(self, data: Bytes | int, offset: int) -> None:
        """What the user typed, or only its length: give the length of what was typed without echo.

        Content is kept only where the session asks for it, under its own key. Raises as `output` does.
        """
        if isinstance(data, int):
            length, kind, payload = data, Kind.INPUT, input_payload(data)
        elif self._input_seal is None:
            length, kind, payload = len(data), Kind.INPUT, input_payload(len(data))
        else:
            length, kind = len(data), Kind.INPUT_CONTENT
            if offset < self._tally.input:  # before sealing: the offset is the nonce
                raise RepeatedOffset(f"input from {offset} on was recorded up to {self._tally.input}")
            payload = self._input_seal.encrypt(input_nonce(offset), data, None) if length else b""
        self._data(kind, Stream.INPUT, payload, length, offset, self._tally.input)
        self._tally.input = offset + length

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size; more than 65535 is recorded as that."""
        self._tell(Kind.RESIZE, resize_payload(min(columns, MAX_SIZE), min(rows, MAX_SIZE)))

    def signal(self, name: str) -> None:
        """The client sent a signal (`INT`)."""
        self._tell(Kind.SIGNAL, name.encode())

    def eof(self, stream: Stream) -> None:
        """No more bytes in this direction."""
        self._tell(Kind.EOF, bytes((stream,)))

    def notice(self, text: str) -> None:
        """What the gateway told the user within the session."""
        self._tell(Kind.NOTICE, text.encode())

    def exit(self, status: int, signal: str = "") -> None:
        """The command ended with `status`, or by `signal`."""
        self._tell(Kind.EXIT, exit_payload(status, signal))

    def gap(self, reason: str, lost_bytes: int = 0) -> None:
        """Something is missing here; `lost_bytes` 0 where nobody can know how much."""
        self._tell(Kind.GAP, gap_payload(None, 0, lost_bytes, reason))

    def hand_over(self) -> None:
        """What was written so far is stored as soon as may be, however young and small its part is."""
        self._roll()

    async def durable(self) -> None:
        """Returns when everything written so far is durable: at once under PROCESS, else after fdatasync.

        Raises RecordingFailed.
        """
        if self._durability is not Durability.PROCESS:
            await self._sync.wait()
        if self._failure is not None or self.abandoned:
            raise RecordingFailed(self._failure or _SUSPENDED)

    async def close(self, reason: str) -> Manifest:
        """End the recording: seal and store what is left, sign the manifest. A second call joins the first.

        It waits for the object store as long as that takes, and goes on when the caller stops waiting. Raises
        RecordingFailed where the store or the keys refuse for good; the spool is then in quarantine.
        """
        if self._closing is None:
            if self.abandoned:
                raise RecordingFailed("the recorder was stopped; its next start finishes this")
            self._end(reason)
            self._closing = asyncio.get_running_loop().create_task(self._finish(self))
        try:
            return await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            if self.abandoned:
                raise RecordingFailed("the recorder was stopped; its next start finishes this") from None
            raise

    def abandon(self) -> None:
        """Stop at once, as a dying process would; the next start finishes the recording from its spool."""
        self.fail("the recorder was stopped")
        self._let_go()

    def suspend(self) -> None:
        """Let go at once and without an end, so that the next start can hold this recording and resume it.

        Nothing more is taken, and that is no failure. A recording that is being closed is not suspended.
        """
        if self._closing is None:
            self._refusal = _SUSPENDED
            self._let_go()

    def _let_go(self) -> None:
        self.abandoned = True
        if self._closing is not None:
            self._closing.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._part is not None:
            self._memory.free(self._part)
            self._part.close()
        self.uploader.abandon()

    def _end(self, reason: str) -> None:
        try:
            self._tell(Kind.END, reason.encode())
            self._refusal = "the recording is closed"
            self._roll()
        except RecordingFailed as failure:
            # The journal takes no more, memory and store may: say the end, and why, in the last segment itself.
            ending = f"{reason}; recording failed: {failure}".encode()
            self._roll(ending)

    def _data(  # noqa: PLR0917 - the hot call of this package: keywords cost
        self, kind: int, stream: Stream, payload: Bytes, length: int, offset: int, expected: int
    ) -> None:
        if offset != expected:
            if offset < expected:
                raise RepeatedOffset(f"{stream.name} from {offset} on was recorded up to {expected}")
            self._tell(Kind.GAP, gap_payload(stream, offset, offset - expected, "never reached the recorder"))
        if length:
            if self._room.left <= 0:  # what is not data is small, and how a session ends is always said
                self.fail(str(self._room))
            self._write(kind, offset, payload)

    def _tell(self, kind: Kind, payload: bytes) -> None:
        self._write(kind, 0, payload)
        self._tally.take(kind, self._tally.last_us, payload)

    def _write(self, kind: int, offset: int, payload: Bytes) -> None:
        if self._refusal is not None:
            raise RecordingFailed(self._refusal)
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes in one event; at most {MAX_PAYLOAD} fit")
        time_us = (self._ticks() - self._began) // 1000
        try:
            part = self._part
            if part is None or part.raw_size >= self._segment_bytes:
                part = self._begin_part()
            self._room.take(part.write(kind, time_us, offset, payload))
            # After the write: stopped before it, this would go into a file that the one who took over has read.
            now = self._ticks()
            if now - self._wrote > _PAUSE_NS:
                part.require_own()
            self._wrote = now
        except OSError as failure:
            if not self._folder.path.is_dir():
                # Another writer took over; even an END would come after its manifest.
                self.uploader.abandon()
            self.fail(f"the spool cannot be written: {failure}")
            raise RecordingFailed(f"the spool cannot be written: {failure}") from failure
        self._tally.last_us = time_us
        if not part.dirty:
            self._sync.touch(part, self.fail)
        if part.batch is not None:
            self._memory.keep(part, len(payload) + HEAD.size)

    def _begin_part(self) -> Part:
        self._roll()
        number = self._parts
        part = Part(self._folder.part(number), number, self._seal, self._tally.copy())
        self._part = part
        self._parts += 1
        self._timer = asyncio.get_running_loop().call_later(self._segment_seconds, self._roll)
        return part

    def _roll(self, ending: bytes | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        part, self._part = self._part, None
        if part is not None or ending is not None:
            self.uploader.add(part, self._tally.copy(), ending)

    def fail(self, why: str) -> None:
        """Take no more, for a reason from outside the writing calls (a failed sync, a refused upload)."""
        if self._failure is None and not self.abandoned:
            self._failure = why
            self._refusal = why
            self._has_failed.set()

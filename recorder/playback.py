"""Reading a recording again: its events in order, from any moment."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recorder.errors import DamagedRecording, KeyRefused
from recorder.events import Batch, input_length, input_payload, resize_payload
from recorder.model import (
    GENESIS,
    Epoch,
    Event,
    Kind,
    Manifest,
    Purpose,
    SegmentEntry,
    key_context,
    segment_name,
)
from recorder.ports import KeyProvider, ObjectStore
from recorder.sealing import input_nonce, input_seal
from recorder.segment import Place, open_segment

_AT_A_TIME: Final = 64 * 1024
"""Bytes of events that go by before others have their turn: a segment has a hundred times as much."""
_EVENT_COST: Final = 64


@dataclass(frozen=True, slots=True)
class _Readable:
    epoch: Epoch
    data_key: bytes = field(repr=False)
    input_seal: AESGCM | None


class Playback:
    """One recording, opened. `manifest` should have been checked (`check_manifest`) before it is trusted."""

    def __init__(self, manifest: Manifest, store: ObjectStore, epochs: list[_Readable]) -> None:
        self.manifest = manifest
        self._store = store
        self._epochs = epochs

    @classmethod
    async def open(
        cls,
        manifest: Manifest,
        store: ObjectStore,
        keys: KeyProvider,
        context: Mapping[str, str],
        *,
        with_input: bool = False,
    ) -> Playback:
        """Unwrap the data keys. `context` is `encryption_context` of the authorized session, not the manifest's.

        `with_input` also unwraps the key of the input's content, a permission of its own; without it, and where
        no content was recorded, input shows as its length. Raises KeyUnavailable, KeyRefused.
        """
        epochs = []
        for epoch in manifest.epochs:
            wanted = key_context(context, epoch.epoch, Purpose.RECORDING)
            data_key = await keys.unwrap(epoch.wrapped_key, wanted)
            seal = None
            if with_input and epoch.wrapped_input_key is not None:
                wanted = key_context(context, epoch.epoch, Purpose.INPUT)
                seal = input_seal(await keys.unwrap(epoch.wrapped_input_key, wanted))
            if len(data_key) != len(GENESIS):
                raise KeyRefused("the key provider gave a data key of another length")
            epochs.append(_Readable(epoch, data_key, seal))
        return cls(manifest, store, epochs)

    async def events(self, start_us: int = 0) -> AsyncIterator[Event]:
        """Events from `start_us` on. After a seek the first one is a RESIZE: the terminal's size at that moment.

        Fetches and opens one segment at a time. Raises DamagedRecording, ObjectMissing, StoreUnavailable.
        """
        sought = start_us > 0
        passed = 0
        previous = GENESIS
        for readable in self._epochs:
            for entry in readable.epoch.segments:
                if entry.last_us >= start_us:
                    batch = await self._segment(readable, entry, previous)
                    size = batch.start.columns, batch.start.rows
                    for event in batch.events():
                        passed += len(event.payload) + _EVENT_COST
                        if passed >= _AT_A_TIME:
                            passed = 0
                            await asyncio.sleep(0)
                        if event.time_us < start_us:
                            if event.kind is Kind.RESIZE:
                                size = _size(event)
                            continue
                        if sought:
                            sought = False
                            yield Event(Kind.RESIZE, start_us, 0, resize_payload(*size))
                        yield _input_shown(event, readable.input_seal)
                previous = bytes.fromhex(entry.sha256)

    async def _segment(self, readable: _Readable, entry: SegmentEntry, previous: bytes) -> Batch:
        epoch = readable.epoch.epoch
        name = segment_name(self.manifest.prefix, epoch, entry.sequence)
        blob = await self._store.get(name)
        place = Place(self.manifest.session.session_id, epoch, entry.sequence, previous)
        return await asyncio.to_thread(_open, name, blob, entry, place, readable.data_key)


def _open(name: str, blob: bytes, entry: SegmentEntry, place: Place, data_key: bytes) -> Batch:
    if hashlib.sha256(blob).hexdigest() != entry.sha256:
        raise DamagedRecording(f"{name} is not the object that the manifest lists")
    try:
        return open_segment(blob, place, data_key)
    except DamagedRecording as damaged:
        raise DamagedRecording(f"{name}: {damaged}") from None


def _size(event: Event) -> tuple[int, int]:
    return int.from_bytes(event.payload[:2], "big"), int.from_bytes(event.payload[2:], "big")


def _input_shown(event: Event, seal: AESGCM | None) -> Event:
    if event.kind is not Kind.INPUT_CONTENT:
        return event
    if seal is None:
        length = input_length(Kind.INPUT_CONTENT, event.payload)
        return replace(event, kind=Kind.INPUT, payload=input_payload(length))
    try:
        return replace(event, payload=seal.decrypt(input_nonce(event.offset), event.payload, None))
    except InvalidTag:
        raise DamagedRecording(f"input at {event.offset} does not open with its key") from None

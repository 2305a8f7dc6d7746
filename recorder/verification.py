"""Whether a recording is what its writer left: signature, chain, hashes, counts.

Needs the manifest, the objects and public keys; no gateway, no decryption key. With a key provider it also opens
every segment and counts again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from recorder.errors import DamagedManifest, DamagedRecording, KeyRefused, ObjectMissing, RefusedName
from recorder.events import Batch, Tally
from recorder.manifest import check_manifest, parse_manifest
from recorder.model import (
    FIRST_EPOCH,
    GENESIS,
    Epoch,
    Manifest,
    Purpose,
    SegmentEntry,
    key_context,
    manifest_name,
    segment_name,
)
from recorder.ports import KeyProvider, ObjectStore
from recorder.segment import MAX_STORED, Place, entry_of, open_segment, parse_header


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written; `where` is `manifest` or an object's name."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """`manifest` is None where it does not even parse. `size` counts the segments' bytes that were read."""

    manifest: Manifest | None
    findings: tuple[Finding, ...]
    segments: int
    size: int
    decrypted: bool

    @property
    def intact(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class Opening:
    """What decrypting needs; `context` is `encryption_context` of the authorized session."""

    keys: KeyProvider
    context: Mapping[str, str]


async def verify(
    data: bytes,
    store: ObjectStore,
    public_keys: Collection[bytes],
    *,
    opening: Opening | None = None,
    prefix: str | None = None,
) -> Verification:
    """Check a recording. `data` is its manifest's file, `public_keys` are raw keys that are trusted.

    `prefix` is where the objects are, by default where the writer put them (`""`: a folder with just this
    recording). Raises StoreUnavailable and KeyUnavailable; everything else that is wrong is a finding.
    """
    findings: list[Finding] = []
    try:
        manifest = check_manifest(data, public_keys)
    except DamagedManifest as damaged:
        findings.append(Finding("manifest", str(damaged)))
        try:
            manifest = parse_manifest(data)
        except DamagedManifest:
            return Verification(None, tuple(findings), 0, 0, decrypted=False)
    check = _Check(manifest, store, manifest.prefix if prefix is None else prefix, findings)
    await check.segments(opening)
    await check.strangers()
    return Verification(manifest, tuple(findings), check.count, check.size, decrypted=opening is not None)


class _Check:
    def __init__(self, manifest: Manifest, store: ObjectStore, prefix: str, findings: list[Finding]) -> None:
        self._manifest = manifest
        self._store = store
        self._prefix = prefix
        self._findings = findings
        self._listed: set[str] = set()
        self._tally: Tally | None = Tally(manifest.session.columns, manifest.session.rows)  # None: not known
        self.count = 0
        self.size = 0

    async def segments(self, opening: Opening | None) -> None:
        readable = opening is not None
        previous = GENESIS
        for count, epoch in enumerate(self._manifest.epochs, FIRST_EPOCH):
            if epoch.epoch != count:
                self._find("manifest", f"lists epoch {epoch.epoch} where {count} belongs")
            data_key = None if opening is None else await self._unwrap(opening, epoch)
            readable = readable and data_key is not None
            for number, entry in enumerate(epoch.segments):
                name = segment_name(self._prefix, epoch.epoch, entry.sequence)
                self._listed.add(name)
                if entry.sequence != number:
                    said = f"lists segment {entry.sequence} of epoch {epoch.epoch} where {number} belongs"
                    self._find("manifest", said)
                place = Place(self._manifest.session.session_id, epoch.epoch, entry.sequence, previous)
                await self._segment(name, entry, place, data_key)
                try:
                    previous = bytes.fromhex(entry.sha256)
                except ValueError:
                    self._find("manifest", f"the hash of {epoch.epoch}-{entry.sequence} is malformed")
            if epoch.head != previous.hex():
                self._find("manifest", f"the head of epoch {epoch.epoch} is not its last segment")
        if readable and not self._findings and self._tally is not None:
            self._compare_counts(self._tally)

    async def strangers(self) -> None:
        """Objects that are there and that the manifest does not know."""
        ours = {manifest_name("", epoch.epoch) for epoch in self._manifest.epochs[-1:]}
        async for found in self._store.list(self._prefix):
            name = found.name.removeprefix(self._prefix)
            if found.name in self._listed or "/" in name:
                continue
            if not name.startswith("manifest-"):
                self._find(found.name, "is not in the manifest")
            elif name not in ours:
                self._find(found.name, "is the manifest of another epoch than the last one: which is true?")

    async def _unwrap(self, opening: Opening, epoch: Epoch) -> bytes | None:
        wanted = key_context(opening.context, epoch.epoch, Purpose.RECORDING)
        try:
            return await opening.keys.unwrap(epoch.wrapped_key, wanted)
        except KeyRefused as refused:
            self._find("manifest", f"the data key of epoch {epoch.epoch} does not unwrap: {refused}")
            return None

    async def _segment(self, name: str, entry: SegmentEntry, place: Place, data_key: bytes | None) -> None:
        before, self._tally = self._tally, None
        most = min(max(entry.size, 0), MAX_STORED)
        try:
            # A byte more shows that it is longer, and whatever lies there is not all read.
            blob = await self._store.get_range(name, 0, most + 1)
        except ObjectMissing:
            self._find(name, "is missing: it was deleted")
            return
        except RefusedName:
            self._find("manifest", "lists a segment whose number is none")
            return
        self.count += 1
        self.size += len(blob)
        if problem := await asyncio.to_thread(_compare, blob, entry, place):
            self._find(name, problem)
        elif data_key is not None:
            try:
                batch, as_listed = await asyncio.to_thread(_open, blob, entry, place, data_key)
                self._tally = await asyncio.to_thread(self._follow, name, batch, before)
            except DamagedRecording as damaged:
                self._find(name, str(damaged))
                return
            if not as_listed:
                self._find(name, "does not hold what the manifest counts for it")

    def _follow(self, name: str, batch: Batch, before: Tally | None) -> Tally:
        """The tally after a segment. Where nobody knows the tally `before` it, it is taken at its word."""
        if before is not None:
            if not batch.starts_at(before):
                self._find(name, "does not begin at the offsets where the segment before it ended")
            if batch and batch.times()[0] < before.last_us:
                self._find(name, "begins before the segment before it ended")
            batch.start = before
        return batch.end()

    def _compare_counts(self, tally: Tally) -> None:
        manifest = self._manifest
        written = (
            manifest.bytes_out,
            manifest.bytes_stderr,
            manifest.bytes_in,
            list(manifest.gaps),
            manifest.exit_status,
            manifest.ended,
        )
        counted = (tally.output, tally.stderr, tally.input, tally.gaps, tally.exit_status, tally.ended or "")
        if written != counted:
            self._find("manifest", "its counts are not those of the segments")

    def _find(self, where: str, what: str) -> None:
        self._findings.append(Finding(where, what))


def _open(blob: bytes, entry: SegmentEntry, place: Place, data_key: bytes) -> tuple[Batch, bool]:
    """The events of a segment, and whether they are what its entry counts."""
    batch = open_segment(blob, place, data_key)
    return batch, entry_of(blob, batch) == entry


def _compare(blob: bytes, entry: SegmentEntry, place: Place) -> str:
    """What is wrong with a segment's ciphertext; empty where nothing is."""
    try:
        named = parse_header(blob)[0]
    except DamagedRecording as damaged:
        return f"was changed or truncated: {damaged}"
    if hashlib.sha256(blob).hexdigest() == entry.sha256:
        if len(blob) != entry.size:
            return f"has {len(blob)} bytes, not the {entry.size} of the manifest"
        return "" if named == place else "breaks the chain: it names another place or another predecessor"
    if (named.session_id, named.epoch, named.sequence) != (place.session_id, place.epoch, place.sequence):
        other = f"{named.epoch:04d}-{named.sequence:06d} of {named.session_id}"
        return f"was swapped or reordered: it holds segment {other}"
    if len(blob) < entry.size:
        return f"was truncated: {len(blob)} of {entry.size} bytes are left"
    return "was changed: its hash is not the manifest's"

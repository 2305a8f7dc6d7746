"""Recordings for those who may see them (R27); the audit log tells who did what with which of them."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.sessions.deletion import refuse_deleted
from gateway.sessions.model import RecordingStatus, SessionRecording
from gateway.store import events, recordings
from gateway.store.database import Database
from jitgate.v1 import annotations_pb2 as declared
from recorder.errors import (
    DamagedManifest,
    DamagedRecording,
    KeyRefused,
    KeyUnavailable,
    ObjectMissing,
    StoreUnavailable,
)
from recorder.manifest import check_manifest, parse_manifest
from recorder.model import Manifest, SessionInfo, encryption_context, manifest_name, segment_name
from recorder.playback import Playback
from recorder.ports import KeyProvider, ObjectStore
from recorder.verification import Finding, Opening, Verification, verify


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found. `public_key` is the trusted raw key that signed, None: none did."""

    verification: Verification
    public_key: bytes | None


class Library:
    """Recordings as they are in the object store, found through the gateway's index.

    `public_keys` are the raw keys whose manifests are trusted, today's and those before it.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        keys: KeyProvider,
        public_keys: Collection[bytes],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._store = store
        self._keys = keys
        self._public_keys = tuple(public_keys)
        self._clock = clock

    async def find(
        self, caller: Caller, wanted: recordings.Filter, limit: int, after: tuple[datetime, str] | None = None
    ) -> tuple[list[SessionRecording], bool]:
        """Those in the caller's scopes, newest first; and whether there are more."""
        scopes = caller.scopes(declared.PERMISSION_READ_RECORDINGS)
        async with self._database.transaction() as tx:
            found = await recordings.find(tx.connection, scopes, wanted, limit + 1, after)
            event = events.Event(
                type="recording.listed",
                at=self._clock(),
                subject="recordings",
                summary=f"{caller.user.id} listed recordings",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                account=wanted.account,
                region=wanted.region,
                details={"user": wanted.user_id, "node": wanted.node, "request": wanted.request_id},
            )
            await events.append(tx.connection, event)
        return found[:limit], len(found) > limit

    async def show(self, caller: Caller, session_id: str) -> tuple[SessionRecording, bytes]:
        """A recording and its signed manifest, which is empty until the recording is complete."""
        recording, manifest = await self._get(caller, session_id)
        await self._tell("recording.shown", "looked at what is known of", caller, recording)
        return recording, manifest

    async def play(self, caller: Caller, session_id: str) -> Playback:
        """Typed content is for those only who may read it: what was typed is more than what was shown."""
        recording, data = await self._complete(caller, session_id)
        return await self._open("recording.played", "played", caller, recording, data)

    async def export(self, caller: Caller, session_id: str, form: str) -> Playback:
        """To make a file of; `form` is told in the audit log. Plaintext leaves the gateway."""
        recording, data = await self._complete(caller, session_id)
        caller.require(declared.PERMISSION_EXPORT_RECORDINGS, recording.account, recording.region)
        return await self._open("recording.exported", f"exported ({form})", caller, recording, data)

    async def download(self, caller: Caller, session_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """The manifest's file, then every segment, still encrypted: names without folders, and their bytes."""
        recording, data = await self._complete(caller, session_id)
        await self._tell("recording.downloaded", "downloaded, still encrypted,", caller, recording)
        with translated(session_id):
            manifest = parse_manifest(data)
            yield manifest_name("", manifest.epochs[-1].epoch), data
            for epoch in manifest.epochs:
                for entry in epoch.segments:
                    name = segment_name("", epoch.epoch, entry.sequence)
                    yield name, await self._store.get(manifest.prefix + name)

    async def verify(self, caller: Caller, session_id: str) -> Verified:
        """Checks what is in the object store now, the manifest there included."""
        recording, known = await self._complete(caller, session_id)
        await self._tell("recording.verified", "verified", caller, recording)
        with translated(session_id):
            expected = parse_manifest(known)
            name = manifest_name(expected.prefix, expected.epochs[-1].epoch)
            opening = Opening(self._keys, _context(recording, expected))
            try:
                stored = await self._store.get(name)
            except ObjectMissing:
                missing = Finding(name, "is missing: it was deleted")
                return Verified(Verification(None, (missing,), 0, 0, decrypted=False), None)
            verification = await verify(
                stored, self._store, self._public_keys, opening=opening, prefix=expected.prefix
            )
        if stored != known:
            other = Finding(name, "is not the manifest that the gateway knows")
            verification = replace(verification, findings=(*verification.findings, other))
        return Verified(verification, self._signer_of(stored))

    async def _complete(self, caller: Caller, session_id: str) -> tuple[SessionRecording, bytes]:
        recording, manifest = await self._get(caller, session_id)
        if recording.status is RecordingStatus.COMPLETE and manifest:
            return recording, manifest
        refuse_deleted(recording)
        raise _unfinished(recording)

    async def _get(self, caller: Caller, session_id: str) -> tuple[SessionRecording, bytes]:
        async with self._database.read() as connection:
            found = await recordings.get(connection, session_id)
            if found is None or not _may_read(caller, found):
                raise _not_found(session_id)
            return found, await recordings.manifest_of(connection, session_id) or b""

    async def _open(
        self, kind: str, did: str, caller: Caller, recording: SessionRecording, data: bytes
    ) -> Playback:
        """Tells it, then opens it: nothing is seen that was not told, typed content by name."""
        may_read = caller.may(declared.PERMISSION_READ_INPUT_CONTENT, recording.account, recording.region)
        with translated(recording.session_id):
            manifest = check_manifest(data, self._public_keys)
            with_input = may_read and any(epoch.wrapped_input_key is not None for epoch in manifest.epochs)
            did = f"{did}, with what was typed," if with_input else did
            await self._tell(kind, did, caller, recording, input_content=with_input)
            return await Playback.open(
                manifest, self._store, self._keys, _context(recording, manifest), with_input=with_input
            )

    def _signer_of(self, data: bytes) -> bytes | None:
        for key in self._public_keys:
            with contextlib.suppress(DamagedManifest):
                check_manifest(data, [key])
                return key
        return None

    async def _tell(self, kind: str, did: str, caller: Caller, recording: SessionRecording, **more: bool) -> None:
        event = events.Event(
            type=kind,
            at=self._clock(),
            subject=recording.session_id,
            summary=f"{caller.user.id} {did} the recording of {recording.user_id} on {recording.node_name}",
            actor_id=caller.user.id,
            source_address=caller.source_address,
            account=recording.account,
            region=recording.region,
            details={"request": recording.request_id, **more},
        )
        async with self._database.transaction() as tx:
            await events.append(tx.connection, event)


@contextlib.contextmanager
def translated(session_id: str) -> Iterator[None]:
    """What reading raises, as Refused: RECORDING_DAMAGED, KEY_REFUSED, RECORDINGS_UNAVAILABLE."""
    try:
        yield
    except (DamagedRecording, ObjectMissing) as damage:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "RECORDING_DAMAGED",
            f"The recording of {session_id} is damaged: {damage}",
            f"See what is left: jit recordings verify {session_id}",
        ) from damage
    except KeyRefused as refusal:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "KEY_REFUSED",
            f"The key of the recording of {session_id} does not open: {refusal}",
            "Check that the key-encryption key is the one that the recording was made under.",
        ) from refusal
    except (StoreUnavailable, KeyUnavailable) as absence:
        raise Refused(
            Kind.UNAVAILABLE,
            "RECORDINGS_UNAVAILABLE",
            f"The recording of {session_id} cannot be reached now: {absence}",
            "Try again later; jit doctor says what is missing.",
            retry_after=timedelta(seconds=5),
        ) from absence


def _context(recording: SessionRecording, manifest: Manifest) -> dict[str, str]:
    """From the index, which the caller was authorized on; a manifest under another's name opens nothing.

    The organization alone is the manifest's, which is in the index as well: it may have been named anew since.
    """
    info = SessionInfo(
        session_id=recording.session_id,
        request_id=recording.request_id,
        user=recording.user_id,
        node=recording.node_id,
        account=recording.account,
        region=recording.region,
        organization=manifest.session.organization,
    )
    return encryption_context(info)


def _may_read(caller: Caller, recording: SessionRecording) -> bool:
    return caller.may(declared.PERMISSION_READ_RECORDINGS, recording.account, recording.region)


def _not_found(session_id: str) -> Refused:
    return Refused(
        Kind.NOT_FOUND,
        "RECORDING_NOT_FOUND",
        f"There is no recording of {session_id} that you can see",
        "Look at the recordings: jit recordings list",
    )


def _unfinished(recording: SessionRecording) -> Refused:
    match recording.status:
        case RecordingStatus.RECORDING:
            reason, message = "STILL_RECORDING", "is still being recorded"
            what_to_do = "Wait until the session has ended, or end it: jit sessions terminate SESSION"
        case RecordingStatus.QUARANTINED:
            reason, message = "RECORDING_QUARANTINED", f"could not be finished: {recording.status_reason}"
            what_to_do = (
                "Its spool was kept. Once cured, an administrator has it tried again: jit recordings uploads"
            )
        case _:
            because = f" ({recording.status_reason})" if recording.status_reason else ""
            reason, message = "STILL_UPLOADING", f"is still on its way to the object store{because}"
            what_to_do = "Try again in a moment."
    return Refused(
        Kind.FAILED_PRECONDITION,
        reason,
        f"The session {recording.session_id} {message}",
        what_to_do,
        metadata={"status": recording.status.value},
    )

"""RecordingService: recordings on the wire (R27)."""

# ruff: noqa: N802  # methods are named by the contract

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from gateway.api import values
from gateway.api.current import caller
from gateway.errors import invalid
from gateway.sessions.deletion import Deletions
from gateway.sessions.inventory import Inventories
from gateway.sessions.library import Library, translated
from gateway.sessions.model import Deletion, SessionRecording
from gateway.store.recordings import Filter
from jitgate.v1 import recording_pb2, recording_pb2_grpc
from jitgate.v1.common_pb2 import Scope
from recorder.events import exit_of, gap_of, input_length, resize_of, text_of
from recorder.exporting import asciicast, plain_text, raw_output
from recorder.model import Event, Kind
from recorder.playback import Playback
from recorder.signatures import key_id_of, pem_of

CHUNK_BYTES: Final = 256 * 1024
"""What one message carries at most."""
_EVENTS: Final = 1000
_FORMS: Final = {
    recording_pb2.EXPORT_FORMAT_ASCIICAST_V2: "asciicast v2",
    recording_pb2.EXPORT_FORMAT_TEXT: "text",
    recording_pb2.EXPORT_FORMAT_RAW: "raw",
}


class RecordingService(recording_pb2_grpc.RecordingServiceServicer):
    def __init__(self, library: Library, inventories: Inventories, deletions: Deletions) -> None:
        self._library = library
        self._inventories = inventories
        self._deletions = deletions

    async def ListRecordings(
        self, request: recording_pb2.ListRecordingsRequest, context: object
    ) -> recording_pb2.ListRecordingsResponse:
        size, key = values.page(request.page)
        account, region = values.scope(request.scope) if request.HasField("scope") else ("", "")
        wanted = Filter(
            user_id=request.user_id,
            node=request.node,
            request_id=request.access_request_id,
            account=account,
            region=region,
            started_after=values.from_timestamp("started_after", request.started_after)
            if request.HasField("started_after")
            else None,
            started_before=values.from_timestamp("started_before", request.started_before)
            if request.HasField("started_before")
            else None,
        )
        found, more = await self._library.find(caller(), wanted, size, values.after(key))
        token = values.page_token(*values.sort_key(found[-1].started_at, found[-1].session_id)) if more else ""
        return recording_pb2.ListRecordingsResponse(
            recordings=map(recording_message, found), next_page_token=token
        )

    async def GetRecording(
        self, request: recording_pb2.GetRecordingRequest, context: object
    ) -> recording_pb2.GetRecordingResponse:
        recording, manifest = await self._library.show(caller(), request.session_id)
        return recording_pb2.GetRecordingResponse(recording=recording_message(recording), manifest=manifest)

    async def PlayRecording(
        self, request: recording_pb2.PlayRecordingRequest, context: object
    ) -> AsyncIterator[recording_pb2.PlayRecordingResponse]:
        start = values.from_duration("start", request.start)
        playback = await self._library.play(caller(), request.session_id)
        with translated(request.session_id):
            events: list[recording_pb2.RecordedEvent] = []
            size = 0
            async for event in playback.events(start // timedelta(microseconds=1)):
                for part in _parts(event):
                    if size + len(part.payload) > CHUNK_BYTES or len(events) == _EVENTS:
                        yield recording_pb2.PlayRecordingResponse(events=events)
                        events, size = [], 0
                    message = _event_message(part)
                    if message is not None:
                        events.append(message)
                        size += len(part.payload)
            if events:
                yield recording_pb2.PlayRecordingResponse(events=events)

    async def ExportRecording(
        self, request: recording_pb2.ExportRecordingRequest, context: object
    ) -> AsyncIterator[recording_pb2.ExportRecordingResponse]:
        form = _FORMS.get(request.format)
        if form is None:
            raise invalid("format", "must be asciicast v2, text or raw")
        playback = await self._library.export(caller(), request.session_id, form)
        with translated(request.session_id):
            async for chunk in _gathered(_exported(playback, request.format)):
                yield recording_pb2.ExportRecordingResponse(chunk=chunk)

    async def DownloadRecording(
        self, request: recording_pb2.DownloadRecordingRequest, context: object
    ) -> AsyncIterator[recording_pb2.DownloadRecordingResponse]:
        async for name, data in self._library.download(caller(), request.session_id):
            yield recording_pb2.DownloadRecordingResponse(name=name, chunk=data[:CHUNK_BYTES])
            for start in range(CHUNK_BYTES, len(data), CHUNK_BYTES):
                yield recording_pb2.DownloadRecordingResponse(chunk=data[start : start + CHUNK_BYTES])

    async def InventoryRecordings(
        self, request: recording_pb2.InventoryRecordingsRequest, context: object
    ) -> AsyncIterator[recording_pb2.InventoryRecordingsResponse]:
        narrowed_to = values.scope(request.scope) if request.HasField("scope") else ("", "")
        data = await self._inventories.make(caller(), *narrowed_to)
        for start in range(0, len(data), CHUNK_BYTES):
            yield recording_pb2.InventoryRecordingsResponse(chunk=data[start : start + CHUNK_BYTES])

    async def VerifyRecording(
        self, request: recording_pb2.VerifyRecordingRequest, context: object
    ) -> recording_pb2.VerifyRecordingResponse:
        verified = await self._library.verify(caller(), request.session_id)
        found, key = verified.verification, verified.public_key
        return recording_pb2.VerifyRecordingResponse(
            intact=found.intact,
            problems=[f"{finding.where}: {finding.what}" for finding in found.findings],
            objects=found.segments,
            stored_bytes=found.size,
            gaps=len(found.manifest.gaps) if found.manifest else 0,
            signing_key_id=key_id_of(key) if key else "",
            public_key=pem_of(key) if key else "",
        )

    async def DeleteRecording(
        self, request: recording_pb2.DeleteRecordingRequest, context: object
    ) -> recording_pb2.DeleteRecordingResponse:
        recording = await self._deletions.delete(caller(), request.session_id, request.reason)
        return recording_pb2.DeleteRecordingResponse(recording=recording_message(recording))


def recording_message(recording: SessionRecording) -> recording_pb2.Recording:
    """A recording as the contract has it."""
    return recording_pb2.Recording(
        session_id=recording.session_id,
        access_request_id=recording.request_id,
        scope=Scope(account=recording.account, region=recording.region),
        user_id=recording.user_id,
        node_id=recording.node_id,
        node_name=recording.node_name,
        status=recording_pb2.RecordingStatus.Value(f"RECORDING_STATUS_{recording.status}"),
        status_reason=recording.status_reason,
        started_at=values.timestamp(recording.started_at),
        duration=_duration(recording.duration_us),
        output_bytes=recording.output_bytes,
        input_bytes=recording.input_bytes,
        stored_bytes=recording.stored_bytes,
        gaps=recording.gaps,
        deletion=None if recording.deletion is None else _deletion_message(recording.deletion),
    )


def _deletion_message(deletion: Deletion) -> recording_pb2.RecordingDeletion:
    return recording_pb2.RecordingDeletion(
        wanted_at=values.timestamp(deletion.wanted_at),
        deleted_at=values.timestamp(deletion.deleted_at),
        actor_id=deletion.actor_id,
        reason=deletion.reason,
        manifest_sha256=deletion.manifest_sha256,
    )


def _parts(event: Event) -> list[Event]:
    """The event in pieces that fit a message; only what carries bytes can be larger than one."""
    if len(event.payload) <= CHUNK_BYTES:
        return [event]
    payload = event.payload
    pieces = (payload[at : at + CHUNK_BYTES] for at in range(0, len(payload), CHUNK_BYTES))
    return [Event(event.kind, event.time_us, event.offset, piece) for piece in pieces]


def _event_message(event: Event) -> recording_pb2.RecordedEvent | None:
    """An event as the contract has it; None for what it has no word for (the end of a direction)."""
    message = recording_pb2.RecordedEvent(at=_duration(event.time_us))
    payload = event.payload
    match event.kind:
        case Kind.OUTPUT:
            message.output = payload
        case Kind.STDERR:
            message.error_output = payload
        case Kind.INPUT:
            message.input_length = input_length(event.kind, payload)
        case Kind.INPUT_CONTENT:
            message.input = payload
        case Kind.RESIZE:
            message.resize.columns, message.resize.rows = resize_of(payload)
        case Kind.SIGNAL:
            message.signal = text_of(payload)
        case Kind.NOTICE:
            message.notice = text_of(payload)
        case Kind.GAP:
            _, _, lost, reason = gap_of(payload)
            message.gap = f"{reason} ({lost} bytes)" if lost else reason
        case Kind.EXIT:
            status, signal = exit_of(payload)
            message.exit = f"signal {signal}" if signal else f"status {status}"
        case _:
            return None
    return message


async def _exported(playback: Playback, form: int) -> AsyncIterator[bytes]:
    if form == recording_pb2.EXPORT_FORMAT_TEXT:
        async for text in plain_text(playback):
            yield text.encode()
        return
    pieces = asciicast(playback) if form == recording_pb2.EXPORT_FORMAT_ASCIICAST_V2 else raw_output(playback)
    async for piece in pieces:
        yield piece


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in chunks of one message each: a message a line would cost more than the line."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


def _duration(microseconds: int) -> Duration:
    result = Duration()
    result.FromMicroseconds(microseconds)
    return result

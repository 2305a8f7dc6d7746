"""UploadService: recordings that are not in their object store yet (R27)."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.api import values
from gateway.api.current import caller
from gateway.sessions.uploads import Uploads
from gateway.store.uploads import Upload
from jitgate.v1 import recording_pb2, upload_pb2, upload_pb2_grpc
from jitgate.v1.common_pb2 import Scope


class UploadService(upload_pb2_grpc.UploadServiceServicer):
    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def ListUploads(
        self, request: upload_pb2.ListUploadsRequest, context: object
    ) -> upload_pb2.ListUploadsResponse:
        size, key = values.page(request.page)
        scope = values.scope(request.scope) if request.HasField("scope") else ("", "")
        found, more = await self._uploads.find(caller(), scope, size, values.after(key))
        token = values.page_token(*values.sort_key(found[-1].started_at, found[-1].session_id)) if more else ""
        return upload_pb2.ListUploadsResponse(uploads=map(_message, found), next_page_token=token)

    async def RetryUpload(
        self, request: upload_pb2.RetryUploadRequest, context: object
    ) -> upload_pb2.RetryUploadResponse:
        await self._uploads.retry(caller(), request.session_id)
        return upload_pb2.RetryUploadResponse()


def _message(upload: Upload) -> upload_pb2.Upload:
    return upload_pb2.Upload(
        session_id=upload.session_id,
        scope=Scope(account=upload.account, region=upload.region),
        user_id=upload.user_id,
        node_id=upload.node_id,
        node_name=upload.node_name,
        status=recording_pb2.RecordingStatus.Value(f"RECORDING_STATUS_{upload.status}"),
        started_at=values.timestamp(upload.started_at),
        replica=upload.replica,
        spool_bytes=upload.spool_bytes,
        segments_stored=upload.stored,
        segments_waiting=upload.waiting,
        waiting_since=values.timestamp(upload.waiting_since),
        failure=upload.failure,
        failing_since=values.timestamp(upload.failing_since),
        next_try_at=values.timestamp(upload.next_try_at),
        reported_at=values.timestamp(upload.reported_at),
        retry_wanted=upload.is_retried,
    )

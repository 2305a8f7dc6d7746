"""Refusals as rich gRPC statuses: a code, ErrorInfo, BadRequest, RetryInfo (google.rpc)."""

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gateway.errors import Refused

DOMAIN = "jitgate"
DETAILS_KEY = "grpc-status-details-bin"

Trailers = tuple[tuple[str, bytes], ...]


def of(refused: Refused) -> tuple[grpc.StatusCode, str, Trailers]:
    """Code, message and trailing metadata for `ServicerContext.abort`."""
    code = grpc.StatusCode[refused.kind.value]
    metadata = dict(refused.metadata)
    if refused.what_to_do:
        metadata["what_to_do"] = refused.what_to_do
    details: list[Message] = [ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=metadata)]
    if refused.fields:
        violations = [
            BadRequest.FieldViolation(field=item.field, description=item.description) for item in refused.fields
        ]
        details.append(BadRequest(field_violations=violations))
    if refused.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(refused.retry_after)
        details.append(RetryInfo(retry_delay=delay))
    details.extend(refused.details)
    status = Status(code=code.value[0], message=refused.message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return code, refused.message, ((DETAILS_KEY, status.SerializeToString()),)

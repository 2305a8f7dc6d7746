"""How the stand-in says no: as the gateway does, with google.rpc details."""

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status


class Refusal(Exception):
    """What a method says no with."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        what_to_do: str = "",
        details: tuple[Message, ...] = (),
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.code = code
        if what_to_do:
            metadata["what_to_do"] = what_to_do
        self.status = Status(code=code.value[0], message=message)
        for detail in (ErrorInfo(reason=reason, domain="jitgate", metadata=metadata), *details):
            packed = AnyMessage()
            packed.Pack(detail)
            self.status.details.append(packed)

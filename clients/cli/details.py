"""What a refusal carries besides its line: google.rpc details, read only when there is a refusal."""

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from jitgate.v1.policy_pb2 import PolicyFindings


class Details:
    """The details of a serialized google.rpc.Status; empty ones where there are none or they can't be read."""

    def __init__(self, serialized: bytes) -> None:
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.retry_seconds = 0.0
        self.findings = PolicyFindings()
        try:
            self._read(Status.FromString(serialized))
        except DecodeError:
            return

    def _read(self, status: Status) -> None:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason
                self.metadata = dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = {item.field: item.description for item in bad.field_violations}
            elif detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            else:
                detail.Unpack(self.findings)

    @property
    def what_to_do(self) -> str:
        if said := self.metadata.get("what_to_do"):
            return said
        if self.retry_seconds:
            return f"Try again in {self.retry_seconds:.0f} seconds."
        return ""

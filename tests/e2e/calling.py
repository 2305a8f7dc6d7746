"""Every method of the contract as one identity calls it, with a request that the right person could make.

A method that `Things.payload` doesn't know is called with an empty request.
"""

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from jitgate.v1.annotations_pb2 import Permission, permission
from tests.e2e.stage import HOME, Stage, code_and_reason

Identity = tuple[bytes, bytes] | None
Outcome = tuple[str, str]
"""Code and reason of how a call ended."""

NO_ACTIVATION = "act-000000000000"


@dataclass
class Things:
    """What is there to be taken, seen or broken in the account and Region of others."""

    on: Stage
    pending: str
    approved: str
    session: str
    token: str

    @property
    def secrets(self) -> list[bytes]:
        """What must not be in any answer to a stranger."""
        names = [self.pending, self.approved, self.session, "alice", "web-1", "db-1", "databases"]
        return [name.encode() for name in names]

    def payload(self, method: str) -> dict[str, Any]:
        """A request that somebody with the right role could make."""
        manual = "name: strange\naccessHours: 1\ntargets: all\nlevels: [{approvers: [{user: bob}]}]\n"
        bucket = {
            "kind": "ALLOWANCE_KIND_BUCKET",
            "name": "recordings-of-a-stranger",
            "owner": "123456789012",
            "aws_region": "eu-west-1",
        }
        by_id = {"id": self.pending}
        by_request = {"access_request_id": self.pending}
        by_session = {"session_id": self.session}
        at = {"scope": HOME}
        payloads: dict[str, dict[str, Any]] = {
            "AccessService/StartAccessRequest": {"nodes": ["web-1"], "reason": "strange", **at},
            "AccessService/GetAccessRequest": by_id,
            "AccessService/ListAccessRequests": {},
            "AccessService/WatchAccessRequest": by_id,
            "AccessService/CancelAccessRequest": by_id,
            "AccessService/ReturnAccess": {"id": self.approved},
            "AccessService/GetAccessToken": {"access_request_id": self.approved},
            "ApprovalService/Approve": by_request,
            "ApprovalService/Deny": by_request,
            "ApprovalService/Revoke": by_request,
            "AllowanceService/Allow": {"allowance": bucket},
            "AllowanceService/Disallow": {"kind": bucket["kind"], "name": bucket["name"]},
            "NoticeService/DiscardNotices": {"ids": ["d-0123456789abcdef01234567"]},
            "NoticeService/PutContact": {"user_id": "alice", "kind": "email", "address": "mallory@example.org"},
            "NoticeService/RemoveContact": {"user_id": "alice", "kind": "email"},
            "NoticeService/CreateChatLink": {"kind": "slack"},
            "NoticeService/RemoveChatLink": {"kind": "slack"},
            "AdministrationService/CreateUser": {"id": "stranger"},
            "AdministrationService/UpdateUser": {"id": "alice", "display_name": "Mallory"},
            "AdministrationService/RemoveUser": {"id": "victim"},
            "AdministrationService/GrantRole": {"grant": {"user_id": "bob", "role": "ROLE_AUDITOR"}},
            "AdministrationService/RevokeRole": {"grant": {"user_id": "carol", "role": "ROLE_APPROVER"}},
            "AdministrationService/Lock": {"node": "web-2", "reason": "strange", **at},
            "AdministrationService/Unlock": {"node": "web-2", **at},
            "AdministrationService/SetTarget": {"scope": {"account": "a", "region": "b"}, "enabled": True},
            "AdministrationService/GetPreferences": at,
            "AdministrationService/PutPreferences": {"preferences": {"idle_timeout_minutes": 9, **at}},
            "PolicyService/PutPolicy": {"kind": "POLICY_KIND_MANUAL", "text": manual, **at},
            "PolicyService/GetPolicy": {"kind": "POLICY_KIND_MANUAL", "name": "databases", **at},
            "PolicyService/DeletePolicy": {"kind": "POLICY_KIND_MANUAL", "name": "vaults", **at},
            "PolicyService/ValidatePolicy": {"kind": "POLICY_KIND_MANUAL", "text": manual, **at},
            "PolicyService/Explain": {"user_id": "alice", "node": "web-1", **at},
            "NodeService/AddNode": {
                "name": "stranger",
                "skip_check": True,
                "ssh": {"host": "127.0.0.1", "host_keys": [self.on.sshd.host_key], "login": "root"},
                **at,
            },
            "NodeService/GetNode": {"node": "web-1", **at},
            "NodeService/UpdateNode": {"node": "web-2", "set_tags": {"Owner": "mallory"}, **at},
            "NodeService/RemoveNode": {"node": "web-2", **at},
            "NodeService/CheckNode": {"node": "web-1", **at},
            "NodeService/DiagnoseNode": {"node": "web-1", **at},
            "NodeService/GetNodeTrust": {"node": "web-1", **at},
            "ActivationService/CreateActivation": {"default_name": "stranger", **at},
            "ActivationService/DeleteActivation": {"id": NO_ACTIVATION},
            "ScimService/CreateScimToken": {"provider": "corp"},
            "ScimService/DeleteScimToken": {"id": "scim-000000000000"},
            "SessionService/Connect": {
                "open": {
                    "access_token": self.token,
                    "node": "web-1",
                    "kind": "SESSION_KIND_EXEC",
                    "command": "id",
                    "credit": 1000,
                }
            },
            "SessionService/TerminateSession": by_session,
            "RecordingService/GetRecording": by_session,
            "RecordingService/PlayRecording": by_session,
            "RecordingService/ExportRecording": {**by_session, "format": "EXPORT_FORMAT_TEXT"},
            "RecordingService/DownloadRecording": by_session,
            "RecordingService/VerifyRecording": by_session,
            "RecordingService/DeleteRecording": {**by_session, "reason": "not wanted"},
            "UploadService/RetryUpload": by_session,
        }
        return payloads.get(method, {})


def outcomes(
    on: Stage, things: Things, methods: list[MethodDescriptor], identity: Identity, address: str
) -> dict[str, tuple[Outcome, bytes]]:
    """Method -> how the call ended, and what it answered. Each is called on a connection of its own."""
    key, chain = identity or (None, None)
    credentials = grpc.ssl_channel_credentials(on.gateway.ca_file.read_bytes(), key, chain)
    found = {}
    for method in methods:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(address, credentials, options) as channel:
            found[name(method)] = _outcome(channel, method, things.payload(name(method)), on)
    return found


def _outcome(channel: grpc.Channel, method: MethodDescriptor, fields: dict[str, Any], on: Stage) -> Any:
    client = on.alice.client  # only to encode what is asked, not to ask
    request = client.message(method.input_type.full_name, fields)
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = ("stream" if method.client_streaming else "unary") + (
        "_stream" if method.server_streaming else "_unary"
    )
    call = getattr(channel, kind)(path, lambda message: message.SerializeToString(), bytes)
    try:
        answer = call(iter([request]) if method.client_streaming else request, timeout=60)
        return ("OK", ""), b"".join(answer) if method.server_streaming else answer
    except grpc.RpcError as error:
        return code_and_reason(error), b""


def name(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}/{method.name}"


def needed(method: MethodDescriptor) -> int:
    """The permission that the contract demands, a value of Permission."""
    options = MethodOptions.FromString(method.GetOptions().SerializeToString())
    return int(options.Extensions[permission])


def needs_a_role(method: MethodDescriptor) -> bool:
    return needed(method) != Permission.PERMISSION_SIGNED_IN

"""A client generated from reflection alone does what `jit` does: the whole way of a request."""

import base64
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.processes import GatewayProcess, wait_for
from tests.reflected import ReflectedClient, new_key
from tests.sshd import current_login, running_sshd

PERMIT = 'permit(principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource);'


def sign_in(gateway: GatewayProcess, **proof: Any) -> ReflectedClient:
    anonymous = ReflectedClient(gateway.sign_in_address, gateway.ca_file)
    key, request = new_key()
    answer = anonymous.call(
        "SignInService/SignIn", certificate_request=base64.b64encode(request).decode(), **proof
    )
    anonymous.close()
    return ReflectedClient(answer["gateway_address"], gateway.ca_file, (key, answer["certificate_chain"].encode()))


def new_user(administrator: ReflectedClient, gateway: GatewayProcess, name: str, role: str) -> ReflectedClient:
    created = administrator.call("AdministrationService/CreateUser", id=name)
    administrator.call("AdministrationService/GrantRole", grant={"user_id": name, "role": role})
    proof = {"user_id": name, "password": created["initial_password"], "new_password": f"a long word for {name}"}
    return sign_in(gateway, password=proof)


def test_the_whole_way_by_reflection(gateway: GatewayProcess, folder: Path) -> None:
    code = {"code": gateway.administrator_code(), "user_id": "root-admin", "new_password": "correct horse staple"}
    administrator = sign_in(gateway, administrator_code=code)
    assert "jitgate.v1.SessionService" in administrator.services()
    alice = new_user(administrator, gateway, "alice", "ROLE_USER")
    dave = new_user(administrator, gateway, "dave", "ROLE_AUDITOR")

    trust = administrator.call("NodeService/GetNodeTrust", login=current_login())
    with running_sshd(folder / "sshd", trust["user_ca"]) as sshd:
        sshd.allow(sshd.login, f"{trust['node_id']}/{sshd.login}")
        endpoint = {"host": sshd.host, "port": sshd.port, "login": sshd.login, "host_keys": [sshd.host_key]}
        added = administrator.call("NodeService/AddNode", id=trust["node_id"], name="web-1", ssh=endpoint)
        assert all(check["passed"] for check in added["checks"])
        administrator.call("PolicyService/PutPolicy", kind="POLICY_KIND_AUTO", text=PERMIT)

        request = alice.call("AccessService/StartAccessRequest", nodes=["web-1"], reason="reflection")["request"]
        assert request["status"] == "ACCESS_REQUEST_STATUS_APPROVED"
        token = alice.call("AccessService/GetAccessToken", access_request_id=request["id"])["token"]["value"]

        session_id, output, exit_frame = run(alice, token, "cat; exit 7", b"through and through \xff\x00")
        assert output == b"through and through \xff\x00"
        assert exit_frame.status == 7

        with pytest.raises(grpc.RpcError) as refused:
            alice.call("RecordingService/ListRecordings")
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED

        wait_for(lambda: complete(dave, session_id), what="the recording")
        verdict = dave.call("RecordingService/VerifyRecording", session_id=session_id)
        assert verdict["intact"]
        played = b"".join(
            event.output
            for answer in dave.receive("RecordingService/PlayRecording", session_id=session_id)
            for event in answer.events
        )
        assert played == output
        events = dave.call("AdministrationService/ListEvents", subject=session_id)["events"]
        assert {"session.started", "session.ended"} <= {event["type"] for event in events}
    for client in (administrator, alice, dave):
        client.close()


def complete(auditor: ReflectedClient, session_id: str) -> bool:
    recording = auditor.call("RecordingService/GetRecording", session_id=session_id)["recording"]
    return bool(recording["status"] == "RECORDING_STATUS_COMPLETE")


def run(client: ReflectedClient, token: str, command: str, data: bytes) -> tuple[str, bytes, Any]:
    """Runs one command with `data` as its input; the session's id, its output and its exit frame."""
    outgoing: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def frames() -> Iterator[dict[str, Any]]:
        while (frame := outgoing.get()) is not None:
            yield frame

    outgoing.put(
        {
            "open": {
                "access_token": token,
                "node": "web-1",
                "kind": "SESSION_KIND_EXEC",
                "command": command,
                "credit": 1 << 20,
            }
        }
    )
    outgoing.put({"data": {"offset": 0, "payload": base64.b64encode(data).decode()}})
    outgoing.put({"eof": {}})
    session_id, received, end = "", b"", None
    for frame in client.session(frames()):
        match frame.WhichOneof("frame"):
            case "opened":
                session_id = frame.opened.session_id
            case "data":
                assert frame.data.offset == len(received)
                received += frame.data.payload
            case "exit":
                end = frame.exit
                outgoing.put(None)
    return session_id, received, end

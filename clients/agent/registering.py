"""`jitgate-agent register`: a new key, an activation's id and code, and the node's certificate for it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from clients.agent import trust
from clients.agent.state import Registration, State, Unusable
from jitgate.v1.activation_pb2 import RegisterNodeRequest, RegisterNodeResponse

_SECONDS = 30.0


def register(
    state: State, *, gateway: str, ca_file: Path | None, fingerprint: str, activation_id: str, code: str
) -> Registration:
    """Registers this node and keeps what it got. Raises Unusable; then nothing was kept."""
    state.prepare()
    if (known := state.registration()) is not None:
        raise Unusable(
            f"this node is registered already, as {known.node_name} ({known.node_id}). To register it anew, "
            f"remove it with jit nodes remove, stop the agent and empty {state.folder}"
        )
    anchor = trust.establish(gateway, ca_file, fingerprint)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    answer = _ask(
        gateway,
        anchor,
        RegisterNodeRequest(
            activation_id=activation_id,
            activation_code=code,
            certificate_request=request.public_bytes(serialization.Encoding.DER),
        ),
    )
    registration = Registration(
        answer.node_id, answer.node_name, answer.agent_address, answer.issued_at.seconds, answer.expires_at.seconds
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    state.keep(registration, answer.certificate_chain, pem, anchor)
    return registration


def when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ask(gateway: str, anchor: bytes, request: RegisterNodeRequest) -> RegisterNodeResponse:
    with grpc.secure_channel(gateway, grpc.ssl_channel_credentials(anchor)) as channel:
        call = channel.unary_unary(
            "/jitgate.v1.RegistrationService/RegisterNode",
            request_serializer=RegisterNodeRequest.SerializeToString,
            response_deserializer=RegisterNodeResponse.FromString,
        )
        try:
            answer: RegisterNodeResponse = call(request, timeout=_SECONDS)
        except grpc.RpcError as error:  # it is the call as well, which the stubs do not know
            raise Unusable(_explained(error)) from None
    return answer


def _explained(error: Any) -> str:
    """What was wrong and what to do, as the gateway says it."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            info = ErrorInfo()
            if any(detail.Unpack(info) for detail in Status.FromString(value).details):
                return f"{error.details()}. {info.metadata.get('what_to_do', '')}"
    return f"{error.code().name}: {error.details()}"

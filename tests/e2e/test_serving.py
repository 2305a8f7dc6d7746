"""What a running gateway shows to strangers, to load balancers and to other users of its host."""

import queue
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.stage import sign_in
from tests.processes import GatewayProcess

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
MAX_CONCURRENT_STREAMS = 3


def settings_of(address: str, ca_file: Path) -> dict[int, int]:
    """The HTTP/2 settings that a listener announces (RFC 9113, 6.5)."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        secure.sendall(PREFACE)
        received = b""
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3], "big"):
            more = secure.recv(4096)
            assert more, "the gateway closed the connection"
            received += more
    size, kind = int.from_bytes(received[:3], "big"), received[3]
    assert kind == 4
    return dict(struct.iter_unpack(">HI", received[9 : 9 + size]))


def test_strangers_hold_few_calls_on_a_connection(gateway: GatewayProcess) -> None:
    assert settings_of(gateway.sign_in_address, gateway.ca_file)[MAX_CONCURRENT_STREAMS] <= 16


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_refused(gateway: GatewayProcess, version: str) -> None:
    for address in (gateway.address, gateway.sign_in_address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(gateway.ca_file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLS"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname=host)


def test_load_balancers_hear_first_that_it_stops(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    gateway.start()
    code = {"code": gateway.administrator_code(), "user_id": "root", "new_password": "correct horse staple"}
    key, chain = sign_in(gateway, administrator_code=code)
    credentials = grpc.ssl_channel_credentials(gateway.ca_file.read_bytes(), key, chain)
    said: queue.Queue[int] = queue.Queue()
    with grpc.secure_channel(gateway.address, credentials) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know no Watch
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="jitgate.v1.AccessService"))

        def listen() -> None:
            try:
                for answer in watched:
                    said.put(answer.status)
            except grpc.RpcError:
                said.put(-1)

        threading.Thread(target=listen, daemon=True).start()
        assert said.get(timeout=60) == health_pb2.HealthCheckResponse.SERVING
        gateway.stop()
        assert said.get(timeout=60) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_other_users_of_the_host_read_nothing(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    gateway.data_dir.mkdir(mode=0o755)
    gateway.start()
    files = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
    assert gateway.data_dir / "jitgate.db" in files
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    gateway.stop()

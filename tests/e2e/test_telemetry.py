"""What the gateway measures and traces arrives at a collector, and logs carry the traces' ids (R34)."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.e2e.stage import refusal, sign_in
from tests.processes import GatewayProcess
from tests.reflected import ReflectedClient

START = "jitgate.v1.AccessService/StartAccessRequest"


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Takes OTLP by gRPC and keeps it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.points: list[tuple[str, dict[str, str], Any]] = []
        self.services: set[str] = set()

    def Export(self, request: Any, context: object) -> Any:  # noqa: N802  # named by the contract
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            for resource in request.resource_spans:
                self.services.add(_attributes(resource.resource)["service.name"])
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            return trace_service_pb2.ExportTraceServiceResponse()
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    self.points += [(metric.name, _attributes(point), point) for point in data.data_points]
        return metrics_service_pb2.ExportMetricsServiceResponse()


def _attributes(holder: Any) -> dict[str, str]:
    return {item.key: item.value.string_value for item in holder.attributes}


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    found = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    add_trace: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # generated without types
    add_metrics: Any = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
    add_trace(found, server)
    add_metrics(found, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield found, f"http://127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.rule("R34")
def test_requests_and_calls_are_measured_traced_and_logged(
    collector: tuple[Collector, str], tmp_path: Path
) -> None:
    found, endpoint = collector
    gateway = GatewayProcess(
        tmp_path, {"JITGATE_TELEMETRY__OTLP_ENDPOINT": endpoint, "JITGATE_TELEMETRY__OTLP_INSECURE": "true"}
    )
    gateway.start()
    proof = {"code": gateway.administrator_code(), "user_id": "root", "new_password": "correct horse staple"}
    root = ReflectedClient(gateway.address, gateway.ca_file, sign_in(gateway, administrator_code=proof))
    root.call("AdministrationService/GrantRole", grant={"user_id": "root", "role": "ROLE_USER"})
    endpoint_of_node = {"host": "192.0.2.1", "login": "root", "host_keys": [KEY]}
    root.call("NodeService/AddNode", name="web-1", ssh=endpoint_of_node, skip_check=True)
    failed = root.call("AccessService/StartAccessRequest", nodes=["web-1"], reason="measured")["request"]
    assert failed["status"] == "ACCESS_REQUEST_STATUS_FAILED"
    refused = refusal(lambda: root.call("AccessService/StartAccessRequest", nodes=["web-2"], reason="x"))
    assert refused == ("NOT_FOUND", "NODE_NOT_FOUND")
    root.close()
    gateway.stop()  # what was gathered goes out before it ends

    assert found.services == {"jitgate"}
    spans = [span for span in found.spans if span.name == START]
    assert len(spans) == 2
    logged = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    calls = [line for line in logged if line["event"] == "call" and line["method"] == f"/{START}"]
    assert {line["trace_id"] for line in calls} == {span.trace_id.hex() for span in spans}
    assert {line["span_id"] for line in calls} == {span.span_id.hex() for span in spans}
    events = {at["type"]: point for name, at, point in found.points if name == "jitgate.events"}
    assert events["access_request.failed"].as_int == 1
    durations = [at for name, at, _ in found.points if name == "rpc.server.duration"]
    told = f"{found.spans} {[attributes for _, attributes, _ in found.points]}"
    assert not {
        word for word in ("root", "measured", "web-1", "horse") if word in told
    }  # of nobody, nothing secret
    codes = {at["rpc.grpc.status_code"] for at in durations if at["rpc.method"] == f"/{START}"}
    assert codes == {"OK", "NOT_FOUND"}


def test_a_collector_that_is_not_there_keeps_nobody_waiting(tmp_path: Path) -> None:
    gateway = GatewayProcess(
        tmp_path,
        {"JITGATE_TELEMETRY__OTLP_ENDPOINT": "http://127.0.0.1:9", "JITGATE_TELEMETRY__OTLP_INSECURE": "true"},
    )
    gateway.start()
    ReflectedClient(gateway.sign_in_address, gateway.ca_file).close()
    gateway.stop()  # fails after 30 seconds


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmKWgXg0Ba2VDpk1ZDSMHSoGKHKEwEtnUdZFGPPbBpT"

"""What happened reaches a collector as metrics, and no name or secret goes with it (R34)."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.e2e.live import run
from tests.e2e.stage import stage
from tests.processes import GatewayProcess

pytestmark = pytest.mark.rule("R34")

METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Collector(grpc.GenericRpcHandler):
    """Takes whatever is exported to it, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.exported: list[tuple[str, bytes]] = []

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def take(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.exported.append((details.method, request))
            return b""  # every answer of the protocol may be empty

        return grpc.unary_unary_rpc_method_handler(take)

    def metrics(self) -> Iterator[Metric]:
        """Of the last export, which has the sums of all."""
        last = [request for method, request in self.exported if method == METRICS][-1]
        for resource in ExportMetricsServiceRequest.FromString(last).resource_metrics:
            for scope in resource.scope_metrics:
                yield from scope.metrics


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """What a gateway exported in a life of an approved, a failed and a rejected request, and a session."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[collector])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    folder: Path = tmp_path_factory.mktemp("metrics")
    endpoint = {
        "JITGATE_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "JITGATE_TELEMETRY__OTLP_INSECURE": "true",
    }
    gateway = GatewayProcess(folder / "gateway", environment=endpoint)
    gateway.start()
    try:
        with stage(gateway, folder) as on:
            run(on.alice.client, on.token(), "echo hello")
            rejected = on.alice.request("db-1", "a reason of the own")["id"]
            on.bob.call("ApprovalService/Deny", access_request_id=rejected)
            on.alice.refused("AccessService/GetAccessRequest", id="oi-000000000000")
            on.settled_rows()
    finally:
        gateway.stop()  # which exports what there is
        server.stop(0)
    return collector


def test_requests_decisions_and_calls_are_counted(collected: Collector) -> None:
    events: Counter[str] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for metric in collected.metrics():
        if metric.name == "jitgate.events":
            for point in metric.sum.data_points:
                events[_attributes(point)["type"]] += point.as_int
        if metric.name == "rpc.server.duration":
            for bucket in metric.histogram.data_points:
                attributes = _attributes(bucket)
                calls[attributes["rpc.method"], attributes["rpc.grpc.status_code"]] += bucket.count
    assert events["access_request.approved"] == 1
    assert events["access_request.rejected"] == 1
    assert events["session.started"] == events["session.ended"] == 1
    assert calls["/jitgate.v1.ApprovalService/Deny", "OK"] == 1
    assert calls["/jitgate.v1.AccessService/GetAccessRequest", "NOT_FOUND"] == 1


def test_metrics_and_traces_tell_of_nobody_and_no_secret(collected: Collector) -> None:
    everything = b"".join(request for _, request in collected.exported)
    assert len({method for method, _ in collected.exported}) == 2  # metrics and traces
    for secret in (b"alice", b"a reason of the own", b"jgt_", b"a long word for", b"echo hello", b"PRIVATE KEY"):
        assert secret not in everything


def _attributes(point: object) -> dict[str, str]:
    return {item.key: item.value.string_value for item in point.attributes}  # type: ignore[attr-defined]  # either kind

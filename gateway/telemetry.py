"""Traces and metrics (R34): OpenTelemetry, sent by OTLP where an endpoint is configured."""

from collections.abc import Callable

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gateway.config import Telemetry


def configure(settings: Telemetry, version: str) -> Callable[[], None]:
    """Sets the process's providers; the answer flushes and stops them, and blocks while it does."""
    resource = Resource.create({"service.name": settings.service_name, "service.version": version})
    tracing = TracerProvider(resource=resource)
    readers = []
    if settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=settings.otlp_insecure)
        tracing.add_span_processor(BatchSpanProcessor(exporter))
        readers.append(
            PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=settings.otlp_endpoint, insecure=settings.otlp_insecure)
            )
        )
    measuring = MeterProvider(resource=resource, metric_readers=readers)
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(measuring)

    def stop() -> None:
        tracing.shutdown()
        measuring.shutdown()

    return stop

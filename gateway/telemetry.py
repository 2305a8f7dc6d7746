"""Traces and metrics (R34): OpenTelemetry, sent by OTLP where an endpoint is configured."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gateway.config import Telemetry

_EXPORT_SECONDS = 4
"""How long a collector may take, and so how long one that is not there can hold up the end of the gateway."""


def configure(settings: Telemetry, version: str) -> Callable[[], None]:
    """Sets the process's providers; the answer flushes and stops them, and blocks while it does."""
    resource = Resource.create({"service.name": settings.service_name, "service.version": version})
    tracing = TracerProvider(resource=resource)
    readers = []
    if settings.otlp_endpoint:
        where: dict[str, Any] = {
            "endpoint": settings.otlp_endpoint,
            "insecure": settings.otlp_insecure,
            "timeout": _EXPORT_SECONDS,
        }
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**where)))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(**where)))
    measuring = MeterProvider(resource=resource, metric_readers=readers)
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(measuring)

    def stop() -> None:
        with ThreadPoolExecutor(2) as both:
            both.submit(tracing.shutdown)
            both.submit(measuring.shutdown)

    return stop

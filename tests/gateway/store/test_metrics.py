"""What is committed is counted, what is rolled back is not (R34)."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.store import events
from gateway.store.database import Database
from gateway.store.events import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(events, "_counter", metrics.get_meter("test", meter_provider=provider).create_counter("c"))
    yield reader
    provider.shutdown()


def counted(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return {str((point.attributes or {})["type"]): point.value for point in points}  # type: ignore[union-attr]


@pytest.mark.rule("R34")
async def test_requests_and_decisions_are_counted_once_committed(
    database: Database, reader: InMemoryMetricReader
) -> None:
    with suppress(asyncio.CancelledError):
        async with database.transaction() as tx:
            await events.append(tx.connection, Event("access_request.approved", NOW, "oi-1", "approved"))
            raise asyncio.CancelledError
    assert counted(reader) == {}
    async with database.transaction() as tx:
        await events.append(
            tx.connection,
            Event("access_request.opened", NOW, "oi-1", "opened"),
            Event("access_request.approved", NOW, "oi-1", "approved"),
        )
        await events.append(tx.connection, Event("access_request.approved", NOW, "oi-2", "approved"))
    assert counted(reader) == {"access_request.opened": 1, "access_request.approved": 2}

"""Lines in batches that PutLogEvents of CloudWatch Logs takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from recorder.session_log.ports import LogLine

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 1_048_576
EVENT_OVERHEAD: Final = 26
MAX_LINE_BYTES: Final = 256 * 1024 - EVENT_OVERHEAD
"""Of one event. AWS takes 1 MB now; stores that imitate it, and partitions that lag behind, take this much."""
MAX_SPAN_MS: Final = 24 * 3600 * 1000


def batches(lines: Sequence[LogLine]) -> Iterator[list[LogLine]]:
    """The lines that fit, each once, in order of time; lines of one moment stay in theirs. None is empty."""
    batch: list[LogLine] = []
    size = 0
    for line in sorted(lines, key=lambda line: line.time_ms):
        if line.size > MAX_LINE_BYTES:
            continue
        cost = line.size + EVENT_OVERHEAD
        if batch and (
            len(batch) == MAX_EVENTS or size + cost > MAX_BYTES or line.time_ms - batch[0].time_ms >= MAX_SPAN_MS
        ):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += cost
    if batch:
        yield batch

"""Logs: one JSON object a line on standard error, with the trace it belongs to. Never a secret or a keystroke."""

import logging
import re
import sys
from typing import Final

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

OURS: Final = "jitgate"
"""Our loggers have this name, or one below it."""
_QUERY: Final = re.compile(r"(?<=://)([^\s?'\"]{1,500}\?)[^\s'\")>]+")


def configure(level: str) -> None:
    """Sends our own lines from `level` on, and the warnings of libraries, through one formatter."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _without_queries,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Below a warning only we are heard: libraries tell addresses, headers and bodies there, and with them a
    # webhook's path, a token or a key.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger(OURS).setLevel(level.upper())


def _without_queries(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library that cannot reach an address names it; what it asks there may be a ticket that opens something."""
    for name in ("event", "exception"):
        if isinstance(text := event.get(name), str):
            event[name] = _QUERY.sub(r"\1…", text)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event

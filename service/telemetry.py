"""Log lines: past events with known fields, one JSON object a line."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

FIELDS = frozenset(
    {
        *("event", "level", "timestamp", "process", "worker", "epoch", "duration_ms"),
        *("error_kind", "reason", "detail", "exception", "kind", "count", "method", "path", "status"),
        *("block_number", "block_hash", "blocks", "events", "final_number", "tip_number", "head_number"),
        *("contract",),
    }
)
"""Only these reach a log, so that a new secret cannot leak by default."""


def keep_known_fields(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field that is not listed, and say how many were dropped."""
    known: MutableMapping[str, Any] = {name: entry[name] for name in entry if name in FIELDS}
    dropped = len(entry) - len(known)
    return known if dropped == 0 else {**known, "detail": f"{dropped} unlisted fields left out"}


def start(process: str) -> None:
    """Send this process's log lines to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_kind,
            keep_known_fields,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(handlers=[_LibraryLog()], level=logging.WARNING, force=True)


class _LibraryLog(logging.Handler):
    """A library's own log line, without its words: those are not ours to vouch for."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell that it spoke, and how gravely."""
        logger().warning("library_spoke", kind=record.name, status=record.levelname.lower())


def _exception_kind(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Where it happened, never the message or the locals: those may carry a caller's data.
    given = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        trace = error.__traceback__
        places = []
        while trace is not None:
            places.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
            trace = trace.tb_next
        entry["error_kind"] = type(error).__name__
        entry["exception"] = " > ".join(places[-8:])
    return entry


def logger() -> structlog.stdlib.BoundLogger:
    """The process's logger."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger()
    return bound

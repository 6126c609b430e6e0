"""Log lines: known fields only, and never what an exception says."""

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service import telemetry
from service.telemetry import FIELDS, logger


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    standard_error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", standard_error)
    telemetry.start("tests")
    yield standard_error
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_line_is_json_with_its_process_and_time(log: io.StringIO) -> None:
    logger().info("blocks_applied", blocks=3, duration_ms=12)
    (line,) = lines(log)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "blocks_applied", "level": "info", "process": "tests", "blocks": 3, "duration_ms": 12}


@pytest.mark.parametrize("name", ["api_key", "password", "authorization", "body", "url", "key", "secret", "raw"])
def test_an_unlisted_field_is_never_printed(name: str, log: io.StringIO) -> None:
    assert name not in FIELDS
    logger().info("request_read", **{name: "hidden"}, count=1)
    (line,) = lines(log)
    assert "hidden" not in json.dumps(line)
    assert line["detail"] == "1 unlisted fields left out"
    assert line["count"] == 1


def test_an_unlisted_field_that_was_bound_is_never_printed(log: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(password="hidden"):
        logger().bind(secret="hidden", worker="indexer").warning("step_failed")
    (line,) = lines(log)
    assert "hidden" not in json.dumps(line)
    assert line["worker"] == "indexer"


class Failure(Exception):
    """Carries a caller's data."""


def fail() -> None:
    local_of_a_caller = "hidden-local"
    raise Failure(f"hidden-message {len(local_of_a_caller)}")


@pytest.mark.parametrize("way", ["exc_info=True", "exc_info=error", "exception()", "chained"])
def test_an_exception_tells_its_kind_and_place_alone(way: str, log: io.StringIO) -> None:
    try:
        try:
            fail()
        except Failure as error:
            if way == "chained":
                raise KeyError("hidden-key") from error
            raise
    except Exception as error:
        if way == "exc_info=True":
            logger().error("request_failed", exc_info=True)
        elif way == "exception()":
            logger().exception("request_failed")
        else:
            logger().error("request_failed", exc_info=error)
    (line,) = lines(log)
    assert line["error_kind"] == ("KeyError" if way == "chained" else "Failure")
    assert "test_telemetry.py:" in line["exception"]
    assert "hidden" not in json.dumps(line)


def test_a_deep_traceback_is_told_by_its_last_places(log: io.StringIO) -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            fail()
        dig(depth - 1)

    try:
        dig(50)
    except Failure as error:
        logger().error("request_failed", exc_info=error)
    (line,) = lines(log)
    assert line["exception"].count(" > ") == 7


def test_a_debug_line_is_not_printed(log: io.StringIO) -> None:
    logger().debug("request_read")
    assert lines(log) == []


def test_a_field_cannot_break_its_line(log: io.StringIO) -> None:
    logger().info("request_read", path='/v1/x\n{"event":"forged"}')
    (line,) = lines(log)
    assert line["event"] == "request_read"

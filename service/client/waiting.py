"""Waiting for the end of what a write has begun."""

import time
from collections.abc import Callable
from typing import Any

from service.client.exchange import Exchange, Request
from service.client.problems import ApiProblem, Away

POLL_FIRST_S, POLL_LAST_S = 0.1, 2.0
AWAY_MAX_S = 15.0
"""An API that is being restarted is waited for; one that is silent for so long is told."""


def under_way(content: dict[str, Any]) -> bool:
    """Whether an operation, a batch or an adoption is not final."""
    waiting = content.get("status") in ("pending", "requested", "filling")
    return waiting or content.get("state") in ("pending", "running")


def follow(
    exchange: Exchange,
    path: str,
    content: dict[str, Any],
    *,
    timeout_s: float,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """An operation, a batch or an adoption once it is final, or as it stands after a time.

    A server that asks to be left alone for a while (429, or 503 with `Retry-After`) is, and then asked again.

    Args:
        path: where it is read.
        content: how it stood when it was accepted.
        tell: is told how it stands, each time.

    Raises:
        ApiProblem: it may not be read.
        Away: the API has been silent for a while.
    """
    heard_s = start_s = quiet_until_s = time.monotonic()
    pause_s = POLL_FIRST_S
    while under_way(content) and (left_s := start_s + timeout_s - time.monotonic()) > 0:
        tell(content)
        time.sleep(min(max(pause_s, quiet_until_s - time.monotonic()), left_s))
        pause_s = min(pause_s * 1.3, POLL_LAST_S)
        if time.monotonic() < quiet_until_s:
            continue
        try:
            content = exchange.ask(Request("GET", path, authorized=True)).content
            heard_s = time.monotonic()
        except (ApiProblem, Away) as failure:
            if failure.status == 429 or failure.retry_after_s is not None:
                heard_s = time.monotonic()
                quiet_until_s = heard_s + (failure.retry_after_s or 0.0)
            elif isinstance(failure, ApiProblem) or time.monotonic() - heard_s > AWAY_MAX_S:
                raise
    return content

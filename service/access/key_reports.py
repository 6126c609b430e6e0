"""How many reports of leaked keys a network may make: nobody has to prove anything to make one. Pure."""

import time
from collections.abc import Callable

from service.access.key_limits import network_of
from service.access.key_problems import TooManyReports

REPORTS_MAX = 30
WITHIN_S = 60.0
NETWORKS_MAX = 10_000
"""Networks that are remembered at most; then all are forgotten."""


class Reports:
    """Reports that one process took, by network."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._counts: dict[str, tuple[float, int]] = {}

    def take(self, address: str | None) -> None:
        """Count a report.

        Raises:
            TooManyReports: the network made REPORTS_MAX within WITHIN_S.
        """
        network, now = network_of(address), self._clock_s()
        since, count = self._counts.get(network, (now, 0))
        if now - since >= WITHIN_S:
            since, count = now, 0
        if count >= REPORTS_MAX:
            wait_s = int(since + WITHIN_S - now) + 1
            raise TooManyReports(f"send the next report after {wait_s} s", retry_after_s=wait_s)
        if len(self._counts) >= NETWORKS_MAX:
            self._counts.clear()
        self._counts[network] = (since, count + 1)

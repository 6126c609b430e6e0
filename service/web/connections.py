"""Connections of the API: who opens one and says nothing, or says it slowly, does not hold it."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_WAIT_MAX_S = 10.0
"""Longest time from a connection, or from a request's first byte, to the end of the request's headers."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which waits for headers without end; bodies are timed in `limits.py`."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection without a request yet."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        super().data_received(data)
        # Between two requests uvicorn's own timer runs, which the next one's first byte has stopped.
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_headers_complete(self) -> None:
        """From here on the request is the app's."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or this one, is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADERS_WAIT_MAX_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

"""Connections of the API: who says nothing, says it slowly or does not listen holds none, nor do too many at a time."""

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.telemetry import logger

HEADERS_WAIT_MAX_S = 10.0
"""Longest time from a connection, or from a request's first byte, to the end of the request's headers."""

UNREAD_WAIT_MAX_S = 30.0
"""Time in which whoever is answered must take some of an answer that waits for it."""

ENDING_WAIT_MAX_S = 15.0
"""Longest time from the process's end, as it was asked for, to that of each connection.

What then still waits, for a body or a lock, breaks off, and is safe to send again under its key."""

CONNECTIONS_MAX = 900
"""Connections of one process at a time: fewer than the 1,024 files that a process may open where nobody allows more."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which waits without end for headers, for its answer to be taken and for its own close.

    Bodies are timed in `limits.py`.
    """

    _waiting: asyncio.TimerHandle | None = None
    _looking: asyncio.TimerHandle | None = None
    _ending: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """A connection without a request yet; one too many is ended."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            logger().warning("connections_full", count=CONNECTIONS_MAX)
            transport.abort()
            return
        self._wait()
        self._look_later()

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

    def resume_writing(self) -> None:
        """The other side took enough for more to be written."""
        self._unread_bytes = 0
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """Strangers ask for upgrades as they like: uvicorn would log two lines for each."""

    def shutdown(self) -> None:
        """The process ends: what is not answered soon never is."""
        super().shutdown()
        self._ending = self.loop.call_later(ENDING_WAIT_MAX_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or this one, is gone."""
        self._stop_waiting()
        for timer in (self._looking, self._ending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADERS_WAIT_MAX_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _unread(self) -> int:
        """Bytes that wait here, and in the kernel, for the other side to acknowledge them.

        The kernel takes nothing more until a third of what it holds is gone, which for a slow reader is minutes.
        """
        here: int = self.transport.get_write_buffer_size()
        connected = self.transport.get_extra_info("socket")
        if not here or connected is None:
            return here
        # SIOCOUTQ of Linux; elsewhere the same call of a socket may be unknown.
        with suppress(OSError):
            (kept,) = struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))
            return here + int(kept)
        return here

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(UNREAD_WAIT_MAX_S, self._look)

    def _look(self) -> None:
        """End a connection of which nothing was taken since the last look, though nothing else was to be done."""
        unread_bytes = self._unread()
        # Only then does nothing more come to be written, so that the same number means that nothing was taken.
        stuck = self.flow.write_paused or self.transport.is_closing()
        if stuck and unread_bytes and unread_bytes == self._unread_bytes:
            self.transport.abort()
            return
        self._unread_bytes = unread_bytes
        self._look_later()

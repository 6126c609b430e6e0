"""A thin HTTP client for benches: raw sockets on one event loop, so that it leaves the cores to what is measured."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

_ENOUGH = b"\r\n\r\n"


class UnexpectedAnswer(Exception):
    """An answer that is not the one asked for; the message carries its beginning."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of a run of requests."""

    latencies_s: Sequence[float]  # request written to answer read, in the order of the answers
    started_s: float  # time.monotonic() before the first request
    took_s: float
    cpu_s: float  # the client's own

    def latency_ms(self, percentile: float) -> float:
        """The latency below which so many percent of the requests stayed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * percentile / 100), len(ordered) - 1)] * 1_000


def post(url: str, path: str, key: str, idempotency_key: str, body: object) -> bytes:
    """A POST of JSON, as bytes on a connection that stays open."""
    written = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Idempotency-Key: {idempotency_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(written)}\r\n\r\n"
    )
    return head.encode() + written


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], latencies_s: list[float], status: int) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests, self._latencies_s = requests, latencies_s
        self._expected = f"HTTP/1.1 {status} ".encode()
        self._heard = b""
        self._length = 0
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._length:
            end = self._heard.find(_ENOUGH)
            if end < 0:
                return
            head = self._heard[:end].lower()
            self._length = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self._heard) < self._length:
            return
        if not self._heard.startswith(self._expected):
            self._end(UnexpectedAnswer(self._heard[:1_000].decode(errors="replace")))
            return
        self._latencies_s.append(time.perf_counter() - self._sent_s)
        self._heard, self._length = b"", 0
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or UnexpectedAnswer("the connection was closed"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None) if error is None else self.ended.set_exception(error)
        self._transport.close()


def send(url: str, requests: Sequence[bytes], *, clients: int, status: int) -> Answers:
    """Send all requests through so many clients at once, each with one connection and one request at a time.

    Raises:
        UnexpectedAnswer: an answer has another status.
    """
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    latencies_s: list[float] = []

    async def work() -> tuple[float, float, float]:
        loop, upcoming = asyncio.get_running_loop(), iter(requests)
        started_s, cpu_s = time.monotonic(), time.process_time()
        connections = await asyncio.gather(
            *(
                loop.create_connection(lambda: _Connection(upcoming, latencies_s, status), host, port)
                for _ in range(clients)
            )
        )
        await asyncio.gather(*(protocol.ended for _, protocol in connections))
        return started_s, time.monotonic() - started_s, time.process_time() - cpu_s

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return Answers(latencies_s, *runner.run(work()))

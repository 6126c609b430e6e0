"""A TCP proxy that goes wrong on demand: what stands between a process and its node, or its Postgres.

It knows nothing of what it carries but one mark, bytes that tell the questions whose answers are worth losing: after
those, the other side has done what was asked, and whoever asked never hears of it.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

CHUNK_BYTES = 65_536
DELAY_S = 0.15
"""How long everything takes, in each direction, while it is delayed."""

T = TypeVar("T")


class Disturbance(StrEnum):
    """What goes wrong."""

    CUT = "cut"  # every open connection is reset; new ones are good
    REFUSE = "refuse"  # and new ones are reset too, for a while
    DELAY = "delay"  # every chunk is late
    STALL = "stall"  # nothing passes, and nothing is closed
    LOSE = "lose"  # a marked question is delivered, its answer is not
    ERROR = "error"  # a marked question is delivered, and an error is told in place of its answer
    TWICE = "twice"  # every HTTP request is delivered twice


INTERNAL_ERROR = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}'


def _http(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


@dataclass(eq=False, slots=True)
class _Connection:
    """One client, its way to the other side, and a second such way for what is delivered twice."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    marked: bool = False
    shadow: asyncio.StreamWriter | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        """End it as a broken line ends."""
        for writer in (self.client, self.server, self.shadow):
            if writer is not None:
                writer.transport.abort()


class Proxy:
    """A proxy with a thread and a port of its own.

    Args:
        upstream: a TCP port of this machine, or the path of a Unix socket.
        mark: bytes that tell the questions for LOSE and ERROR.
    """

    def __init__(self, upstream: int | Path, *, mark: bytes) -> None:
        self._upstream, self._mark = upstream, mark
        self._now: Disturbance | None = None
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.port = self._call(self._listen())

    def disturb(self, what: Disturbance, for_s: float) -> None:
        """Go wrong from now on, and be good again `for_s` seconds later by itself; does not wait."""
        self._call(self._disturb(what, for_s))

    def calm(self) -> None:
        """Be good at once."""
        self._loop.call_soon_threadsafe(self._calm)

    def stop(self) -> None:
        """End it, with all that it carries."""
        if self._thread.is_alive():
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _disturb(self, what: Disturbance, for_s: float) -> None:
        self._calm()
        if what in (Disturbance.CUT, Disturbance.REFUSE):
            self._reset_all()
        if what is Disturbance.CUT:
            return
        self._now = what
        if what is Disturbance.STALL:
            self._passing.clear()
        self._ending = self._loop.call_later(for_s, self._calm)

    def _calm(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self._now = None
        self._passing.set()

    async def _close(self) -> None:
        self._calm()
        if self._server is not None:
            self._server.close()
        tasks = [task for connection in self._connections for task in connection.tasks]
        self._reset_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reset_all(self) -> None:
        for connection in self._connections:
            connection.reset()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection("127.0.0.1", self._upstream)

    async def _serve(self, asked: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answered, server = await self._open()
        except OSError:
            client.transport.abort()
            return
        if self._now is Disturbance.REFUSE:
            client.transport.abort()
            server.transport.abort()
            return
        connection = _Connection(client, server)
        self._connections.add(connection)
        connection.tasks = [
            asyncio.create_task(self._carry_questions(connection, asked)),
            asyncio.create_task(self._carry_answers(connection, answered)),
        ]
        try:
            await asyncio.wait(connection.tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Either side's end is the end of both: neither protocol half-closes.
            self._connections.discard(connection)
            for writer in (client, server, connection.shadow):
                if writer is not None:
                    writer.close()
            for task in connection.tasks:
                task.cancel()

    async def _carry_questions(self, connection: _Connection, asked: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await asked.read(CHUNK_BYTES):
                await self._hold_up()
                connection.marked |= self._mark in data
                await self._deliver_twice(connection, data)
                connection.server.write(data)
                await connection.server.drain()

    async def _carry_answers(self, connection: _Connection, answered: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await answered.read(CHUNK_BYTES):
                await self._hold_up()
                if connection.marked and self._now in (Disturbance.LOSE, Disturbance.ERROR):
                    if self._now is Disturbance.ERROR:
                        connection.client.write(_http(INTERNAL_ERROR))
                        await connection.client.drain()
                    return
                connection.marked = False
                connection.client.write(data)
                await connection.client.drain()

    async def _hold_up(self) -> None:
        if self._now is Disturbance.DELAY:
            await asyncio.sleep(DELAY_S)
        await self._passing.wait()

    async def _deliver_twice(self, connection: _Connection, data: bytes) -> None:
        """Copy whole requests to a second connection, whose answers nobody hears."""
        if data.startswith(b"POST "):
            if connection.shadow is not None and self._now is not Disturbance.TWICE:
                connection.shadow.close()
                connection.shadow = None
            elif connection.shadow is None and self._now is Disturbance.TWICE:
                heard, connection.shadow = await self._open()
                connection.tasks.append(asyncio.create_task(_ignore(heard)))
        if connection.shadow is not None:
            connection.shadow.write(data)
            await connection.shadow.drain()


async def _ignore(heard: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await heard.read(CHUNK_BYTES):
            pass

"""A TCP connection that can be cut and held, between a provider's client and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 1 << 16


class Wire:
    """Carries bytes to a port of this machine, as long as it is asked to."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything, for good."""
        assert self._server is not None
        self._open.set()
        self._server.close()
        self._drop()
        await self._server.wait_closed()

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """Nobody is there."""
        self._is_cut = True
        self._drop()
        yield
        self._is_cut = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Questions arrive, and answers come only afterwards."""
        self._open.clear()
        yield
        self._open.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers |= {writer, far_writer}
            await asyncio.gather(
                self._carry(reader, far_writer, hold=False), self._carry(far_reader, writer, hold=True)
            )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if hold:
                    await self._open.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()

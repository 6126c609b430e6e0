"""Files of a table's lines: CSV as they are, or Parquet, streamed; and what a file came to."""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal

from service.ownership.extracts import END, Column, Extract

Format = Literal["csv", "parquet"]

ROW_GROUP_ROWS = 50_000
"""Rows of one Parquet row group: what is held in memory until it is written."""

CHUNKS_WAITING_MAX = 4
"""Chunks that wait for a slow reader; then the writer waits, too."""

FINISHED_MAX = 1_000
"""Files whose digests a process remembers."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a whole file came to."""

    rows: int
    size_bytes: int
    sha256: str


@dataclass(slots=True)
class Tally:
    """What a file has come to so far."""

    rows: int = 0
    size_bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes) -> bytes:
        """Count a chunk."""
        self.size_bytes += len(chunk)
        self._digest.update(chunk)
        return chunk

    @property
    def finished(self) -> Finished:
        """What the file came to."""
        return Finished(self.rows, self.size_bytes, self._digest.hexdigest())


Key = tuple[bytes, int, bytes, str, Format]
"""Contract, how often its rows were made anew, block hash, table, format: all that the bytes of a file depend on."""

_finished: OrderedDict[Key, Finished] = OrderedDict()


def finished(key: Key) -> Finished | None:
    """What a file came to, where this process made it before."""
    return _finished.get(key)


async def made(extract: Extract, format: Format, pages: AsyncIterator[str], key: Key) -> AsyncGenerator[bytes, None]:
    """The bytes of a file, and what they come to remembered at the end. The same pages are the same bytes."""
    tally = Tally()
    counted = _counted(extract, pages, tally)
    async for chunk in counted if format == "csv" else _parquet(extract.columns, counted):
        yield tally.add(chunk)
    _finished[key] = tally.finished
    while len(_finished) > FINISHED_MAX:
        _finished.popitem(last=False)


async def _counted(extract: Extract, pages: AsyncIterator[str], tally: Tally) -> AsyncIterator[bytes]:
    yield extract.header.encode()
    async for text in pages:
        tally.rows += text.count(END)
        yield text.encode()


async def _parquet(columns: Sequence[Column], csv: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same rows as Parquet, encoded in a thread of their own while the next page is read."""
    road = _Road(asyncio.get_running_loop(), csv)
    # What the encoder asks for is read for the issuer that this task acts for.
    here = copy_context()
    threading.Thread(target=here.run, args=(_encode, columns, road), name="parquet", daemon=True).start()
    try:
        while (chunk := await road.made.get()) is not None:
            yield chunk
        if road.error is not None:
            raise road.error
    finally:
        road.close()


class _Road:
    """Between the encoder's thread, which asks for CSV and gives Parquet, and the event loop, which has the one and
    wants the other. The encoder sees two files.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, csv: AsyncIterator[bytes]) -> None:
        self._loop = loop
        self._csv = csv
        self._left = memoryview(b"")
        self._closed = False
        self.made: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS_WAITING_MAX)
        self.error: BaseException | None = None

    def close(self) -> None:
        """The reader is gone: whatever the encoder does next fails."""
        self._closed = True
        while not self.made.empty():
            self.made.get_nowait()

    def read(self, size: int = -1) -> bytes:
        """The next bytes of CSV, none at the end; called by the encoder."""
        if not self._left:
            self._left = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        given, self._left = self._left[:size], self._left[size:]
        return bytes(given)

    def write(self, chunk: bytes) -> int:
        """Bytes of Parquet; called by the encoder."""
        asyncio.run_coroutine_threadsafe(self._give(bytes(chunk)), self._loop).result()
        return len(chunk)

    def flush(self) -> None:
        """Nothing is kept back."""

    def seek(self, *_: int) -> int:
        """A stream goes one way; the encoder wants to see the name, and never calls it."""
        raise OSError("a stream can't be sought in")

    def end(self) -> None:
        """All is encoded, or nothing more will be; called by the encoder's thread."""
        asyncio.run_coroutine_threadsafe(self._give(None), self._loop).result()

    async def _next(self) -> bytes:
        if self._closed:
            raise ConnectionAbortedError
        try:
            return await anext(self._csv, b"")
        except BaseException as error:
            # The encoder would tell of it in words of its own.
            self.error = error
            raise

    async def _give(self, chunk: bytes | None) -> None:
        if self._closed:
            raise ConnectionAbortedError
        await self.made.put(chunk)


def _encode(columns: Sequence[Column], road: _Road) -> None:
    import arro3.core
    import arro3.io

    file: Any = road

    types = {
        "text": arro3.core.DataType.utf8(),
        "integer": arro3.core.DataType.int64(),
        "time": arro3.core.DataType.timestamp("ms", tz="UTC"),
    }
    schema = arro3.core.Schema(
        [arro3.core.Field(each.name, types[each.type], nullable=each.optional) for each in columns]
    )
    try:
        rows = arro3.io.read_csv(file, schema, has_header=True, batch_size=1_024)
        arro3.io.write_parquet(
            rows, file, compression="zstd(3)", max_row_group_size=ROW_GROUP_ROWS, created_by="muniment"
        )
    except BaseException as error:
        road.error = road.error or error
    try:
        road.end()
    except ConnectionAbortedError:
        return

"""Callers that open a connection and are slow to say what they want, over TCP."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from service.web import connections, limits, problems
from service.web.connections import Connection
from service.web.limits import BodyLimit

HEAD = b"POST /%s HTTP/1.1\r\nHost: api\r\nContent-Length: 4\r\n"


ASK = b"GET /%s HTTP/1.1\r\nHost: api\r\n\r\n"
MUCH = 20_000_000
"""Bytes of an answer that no buffer of a socket takes."""

SOON_S = 5.0


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """A small API of the same parts, which waits for a fifth of a second alone."""
    for name in ("HEADERS_WAIT_MAX_S", "UNREAD_WAIT_MAX_S", "ENDING_WAIT_MAX_S"):
        monkeypatch.setattr(connections, name, 0.2)
    monkeypatch.setattr(limits, "BODY_WAIT_MAX_S", 0.2)
    monkeypatch.setattr(limits, "HELD_BYTES_MAX", 30)
    app = FastAPI()
    problems.install(app)
    large, streamed = [(re.compile("/large"), 100)], [(re.compile("/streamed"), 10)]
    app.add_middleware(BodyLimit, bytes_max=10, larger=large, streamed=streamed)

    @app.post("/whole")
    @app.post("/large")
    @app.post("/streamed")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    @app.get("/much")
    async def much() -> StreamingResponse:
        return StreamingResponse(b"x" * (MUCH // 20) for _ in range(20))

    @app.get("/at_once")
    async def at_once() -> Response:
        return Response(b"x" * MUCH)

    @app.get("/stuck")
    async def stuck() -> None:
        await asyncio.sleep(60)

    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        http=Connection,
        ws="none",
        log_config=None,
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    found: int = server.servers[0].sockets[0].getsockname()[1]
    return found


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A caller that takes little beyond what it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def said(port: int, pieces: Sequence[bytes], *, pause_s: float = 0.0) -> bytes:
    """All that is answered until the connection is closed."""
    async with connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), SOON_S)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"\r\n"],
        [b"POST /wh"],
        [HEAD % b"whole", *[b"X: y\r\n"] * 3],
        [HEAD % b"whole" + b"\r\n1234", b"POST /wh"],
        [HEAD % b"whole" + b"\r\n1234", b"\r\n"],
    ],
)
async def test_headers_that_do_not_come_end_the_connection(port: int, pieces: list[bytes]) -> None:
    answer = await said(port, pieces, pause_s=0.05)
    assert answer.count(b"HTTP/1.1") == answer.count(b"HTTP/1.1 200") == sum(b"1234" in piece for piece in pieces)


@pytest.mark.parametrize("path", [b"whole", b"streamed"])
@pytest.mark.parametrize("body", [[], [b"12"]])
async def test_a_body_that_does_not_come_is_a_problem_and_ends_the_connection(
    port: int, path: bytes, body: list[bytes]
) -> None:
    answer = await said(port, [HEAD % path + b"\r\n", *body])
    head, _, told = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert json.loads(told[told.index(b"{") : told.rindex(b"}") + 1])["type"].rpartition("/")[2] == "body-too-slow"


async def test_a_whole_body_has_one_time_and_a_streamed_one_has_it_for_each_part(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b" 408 " in await said(port, [HEAD % b"whole" + b"\r\n1", b"2"], pause_s=0.12)
    monkeypatch.setattr(limits, "PART_BYTES", 1)
    assert b" 200 " in await said(port, [HEAD % b"streamed" + b"\r\n1", b"2", b"3", b"4"], pause_s=0.12)


async def test_a_few_bytes_now_and_then_are_no_part_of_a_streamed_body(port: int) -> None:
    async with connected(port) as (reader, writer):
        told = asyncio.create_task(reader.readline())
        for piece in (HEAD % b"streamed" + b"\r\n1", b"2", b"3", b"4"):
            writer.write(piece)
            await asyncio.sleep(0.12)
        assert b" 408 " in await asyncio.wait_for(told, SOON_S)


async def test_a_chunked_body_has_the_same_time(port: int) -> None:
    head = b"POST /whole HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'\r\n"12"' in await said(port, [head, b"1\r\n1\r\n", b"1\r\n2\r\n", b"0\r\n\r\n"])
    assert b" 408 " in await said(port, [head, b"1\r\n1\r\n"])


async def test_who_is_quick_may_ask_again_on_the_same_connection(port: int) -> None:
    asked = HEAD % b"whole" + b"\r\n1234"
    assert (await said(port, [asked] * 4, pause_s=0.15)).count(b"HTTP/1.1 200") == 4


@pytest.mark.parametrize("path", [b"much", b"at_once"])
async def test_who_does_not_read_an_answer_is_left(server: uvicorn.Server, port: int, path: bytes) -> None:
    async with connected(port) as (_, writer):
        writer.write(ASK % path)
        await until(lambda: len(server.server_state.connections) == 1)
        await until(lambda: not server.server_state.connections | server.server_state.tasks)


async def test_who_reads_slowly_has_the_whole_answer(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(ASK % b"much")
        read = 0
        for _ in range(10):
            read += len(await reader.readexactly(MUCH // 10))
            await asyncio.sleep(0.12)
        read += len(await asyncio.wait_for(reader.read(), SOON_S))
        assert read > MUCH


async def test_who_reads_less_than_the_kernel_gives_up_at_once_has_it_too(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(ASK % b"much")
        for _ in range(30):
            await reader.readexactly(65_536)
            await asyncio.sleep(0.05)


async def test_an_upgrade_is_a_request_like_any_other(server: uvicorn.Server, port: int) -> None:
    asked = b"GET /whole HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert b" 405 " in await said(port, [asked])
    assert not server.server_state.connections


@pytest.mark.parametrize("asked", [b"", HEAD % b"whole" + b"\r\n1", ASK % b"much", ASK % b"stuck"])
async def test_the_process_ends_whatever_its_connections_do(
    server: uvicorn.Server, port: int, monkeypatch: pytest.MonkeyPatch, asked: bytes
) -> None:
    for module, name in ((connections, "HEADERS_WAIT_MAX_S"), (connections, "UNREAD_WAIT_MAX_S")):
        monkeypatch.setattr(module, name, 60)
    monkeypatch.setattr(limits, "BODY_WAIT_MAX_S", 60)
    async with connected(port) as (_, writer):
        writer.write(asked)
        await until(lambda: len(server.server_state.connections) == 1)
        await asyncio.sleep(0.05)
        server.should_exit = True
        await until(lambda: not server.server_state.connections)


async def test_one_connection_too_many_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(connections, "HEADERS_WAIT_MAX_S", 60)
    async with connected(port) as (first, kept):
        assert await said(port, []) == b""
        kept.write(HEAD % b"whole" + b"\r\n1234")
        assert b" 200 " in await first.readline()


async def test_large_bodies_together_have_a_limit_and_small_ones_pass(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_WAIT_MAX_S", SOON_S)
    head, body = b"POST /%s HTTP/1.1\r\nHost: api\r\nContent-Length: %d\r\n\r\n", b"x" * 20
    async with connected(port) as (first, held):
        held.write(head % (b"large", 21) + body)
        await asyncio.sleep(0.05)
        told = await said(port, [head % (b"large", 20) + body])
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in told
        assert b"retry-after: 1" in told
        assert b'"too-many-bodies"' in told.replace(b"/problems/", b"")
        assert b" 200 " in await said(port, [head % (b"whole", 10) + body[:10]])
        held.write(b"x")
        assert b" 200 " in await first.readline()
        assert b" 200 " in await said(port, [head % (b"large", 20) + body])


async def until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not question():  # noqa: ASYNC110
            await asyncio.sleep(0.02)

"""Callers that open a connection and are slow to say what they want, over TCP."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, Request

from service.web import connections, limits, problems
from service.web.connections import Connection
from service.web.limits import BodyLimit

HEAD = b"POST /%s HTTP/1.1\r\nHost: api\r\nContent-Length: 4\r\n"


@pytest_asyncio.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A small API of the same parts, which waits for a fifth of a second alone."""
    monkeypatch.setattr(connections, "HEADERS_WAIT_MAX_S", 0.2)
    monkeypatch.setattr(limits, "BODY_WAIT_MAX_S", 0.2)
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, bytes_max=10, streamed=[(re.compile("/streamed"), 10)])

    @app.post("/whole")
    @app.post("/streamed")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    config = uvicorn.Config(app, port=0, lifespan="off", http=Connection, log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def said(port: int, pieces: Sequence[bytes], *, pause_s: float = 0.0) -> bytes:
    """All that is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


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


async def test_a_whole_body_has_one_time_and_a_streamed_one_has_it_for_each_part(port: int) -> None:
    assert b" 408 " in await said(port, [HEAD % b"whole" + b"\r\n1", b"2"], pause_s=0.12)
    assert b" 200 " in await said(port, [HEAD % b"streamed" + b"\r\n1", b"2", b"3", b"4"], pause_s=0.12)


async def test_a_chunked_body_has_the_same_time(port: int) -> None:
    head = b"POST /whole HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'\r\n"12"' in await said(port, [head, b"1\r\n1\r\n", b"1\r\n2\r\n", b"0\r\n\r\n"])
    assert b" 408 " in await said(port, [head, b"1\r\n1\r\n"])


async def test_who_is_quick_may_ask_again_on_the_same_connection(port: int) -> None:
    asked = HEAD % b"whole" + b"\r\n1234"
    assert (await said(port, [asked] * 4, pause_s=0.15)).count(b"HTTP/1.1 200") == 4

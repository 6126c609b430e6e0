"""The headers of every answer, alone; that every answer has them is told in test_every_operation.py."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.web.headers import NOTHING, SafeHeaders

PAGE = f"{NOTHING}; script-src 'self'"


async def headers(path: str, *, live: bool = False) -> dict[str, str]:
    """What an answer without headers of its own leaves with."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Message) -> None:
        sent.append(message)

    async def nothing(*given: Any) -> Any:
        raise AssertionError

    safe = SafeHeaders(app, live=live, pages={"/docs": PAGE}, loaded="/files/")
    await safe({"type": "http", "path": path}, nothing, send)
    assert "headers" not in sent[1]
    return {name.decode(): text.decode() for name, text in sent[0]["headers"]}


@pytest.mark.parametrize(("live", "expected"), [(True, "max-age=63072000; includeSubDomains"), (False, None)])
@pytest.mark.parametrize("path", ["/v1/assets", "/docs", "/files/x.js"])
async def test_browsers_come_by_https_alone_where_it_is_live(path: str, live: bool, expected: str | None) -> None:
    assert (await headers(path, live=live)).get("strict-transport-security") == expected


@pytest.mark.parametrize("path", ["/v1/assets", "/docs", "/docs/x", "/files"])
async def test_nothing_is_kept_but_the_files_of_a_page(path: str) -> None:
    assert (await headers(path))["cache-control"] == "no-store"
    assert "cache-control" not in await headers("/files/x.js")


async def test_only_a_page_may_run_anything() -> None:
    assert (await headers("/docs"))["content-security-policy"] == PAGE
    for path in ("/docs/x", "/v1/assets", "/files/x.js"):
        assert (await headers(path))["content-security-policy"] == NOTHING


async def test_what_is_no_http_passes() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    async def nothing(*given: Any) -> Any:
        raise AssertionError

    await SafeHeaders(app, live=True, pages={}, loaded="/")({"type": "lifespan"}, nothing, nothing)
    assert seen == [({"type": "lifespan"}, nothing, nothing)]

"""The body limit, alone."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.web.limits import BodyLimit

BYTES_MAX = 10


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def ask(messages: Sequence[Message], *, path: str = "/v1/x") -> tuple[list[Message], list[Message]]:
    """What the app behind the limit received, and what was answered."""
    received: list[Message] = []
    sent: list[Message] = []
    arriving = iter(messages)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())
        received.append(await receive())

    async def receive() -> Message:
        return next(arriving, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": []}
    await BodyLimit(app, bytes_max=BYTES_MAX)(scope, receive, send)
    return received, sent


@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"0123456789")],
        [chunk(b"01234", more=True), chunk(b"56789")],
        [chunk(b"", more=True), chunk(b"0123456789", more=True), chunk(b"")],
    ],
)
async def test_a_body_within_the_limit_arrives_whole_and_then_the_end(messages: list[Message]) -> None:
    received, sent = await ask(messages)
    assert received[0]["body"] == b"0123456789"
    assert not received[0].get("more_body")
    assert received[1]["type"] == "http.disconnect"
    assert sent == []


@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"0123456789a")],
        [chunk(b"0123456789", more=True), chunk(b"a", more=True), chunk(b"b")],
    ],
)
async def test_a_body_over_the_limit_never_reaches_the_app(messages: list[Message]) -> None:
    received, sent = await ask(messages)
    assert received == []
    assert sent[0]["status"] == 413
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]


async def test_a_body_that_breaks_off_does_not_pass_for_an_empty_one() -> None:
    received, _ = await ask([chunk(b"01234", more=True), {"type": "http.disconnect"}])
    assert not any(message["type"] == "http.request" for message in received)


@pytest.mark.parametrize(
    ("announced", "reaches"), [(b"20", True), (b"", True), (b"x", True), (b"21", False), (b"9" * 5_000, False)]
)
async def test_a_streamed_body_is_passed_on_as_it_comes_unless_it_announces_too_much(
    announced: bytes, reaches: bool
) -> None:
    pieces = iter([chunk(b"0123456789a", more=True), chunk(b"b")])
    received: list[Message] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())

    async def receive() -> Message:
        return next(pieces)

    async def send(message: Message) -> None:
        sent.append(message)

    limit = BodyLimit(app, bytes_max=BYTES_MAX, streamed=[(re.compile("/v1/x"), 20)])
    await limit({"type": "http", "path": "/v1/x", "headers": [(b"content-length", announced)]}, receive, send)
    assert [message["body"] for message in received] == ([b"0123456789a"] if reaches else [])
    assert [message["status"] for message in sent if "status" in message] == ([] if reaches else [413])


async def test_what_is_no_http_request_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*given: Any) -> Any:
        raise AssertionError

    await BodyLimit(app, bytes_max=1)({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]

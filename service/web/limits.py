"""Limits that hold before any handler runs."""

import asyncio
import json
import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem
from service.web.problems import MEDIA_TYPE, BodyTooLarge, BodyTooSlow

BODY_WAIT_MAX_S = 30.0
"""Longest time for a whole body; of one that is read as it comes, for each next part of it."""

_STREAMED = "muniment.streamed"


def is_streamed(scope: Scope) -> bool:
    """Whether whoever answers the request reads its body as it comes: then nobody else may, and it has no end yet."""
    return _STREAMED in scope


class BodyLimit:
    """ASGI middleware that refuses a body over `bytes_max`, announced or streamed, without keeping it, and one that
    does not come within `BODY_WAIT_MAX_S`.

    Args:
        larger: limits, in bytes, of paths whose bodies may be larger.
        streamed: limits, in bytes, of paths that read their bodies as they come: only an announced size is held to
            them here, and what comes without one is theirs to count. Theirs to check, too, is a Content-Digest.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bytes_max: int,
        larger: Sequence[tuple[re.Pattern[str], int]] = (),
        streamed: Sequence[tuple[re.Pattern[str], int]] = (),
    ) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._larger = larger
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for path, most in self._streamed:
            if path.fullmatch(scope["path"]):
                if _announced(scope) > most:
                    await _refuse(scope, send, _too_large(most))
                else:
                    await self._app({**scope, _STREAMED: True}, _timed(receive), send)
                return
        bytes_max = max([self._bytes_max, *(most for path, most in self._larger if path.fullmatch(scope["path"]))])
        try:
            async with asyncio.timeout(BODY_WAIT_MAX_S):
                body = await self._collect(receive, bytes_max)
        except TimeoutError:
            await _refuse(scope, send, _too_slow())
            return
        if body is None:
            return
        if len(body) > bytes_max:
            await _refuse(scope, send, _too_large(bytes_max))
            return
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(replayed, None) or await receive()

        await self._app(scope, replay, send)

    async def _collect(self, receive: Receive, bytes_max: int) -> bytes | None:
        """The body, or enough of it to know that it is too large; None when the caller went away."""
        chunks, size, more = [], 0, True
        while more and size <= bytes_max:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
        return b"".join(chunks)


def _timed(receive: Receive) -> Receive:
    """The same, but the next part of a body may be waited for only so long."""
    more = True

    async def receive_timed() -> Message:
        nonlocal more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout(BODY_WAIT_MAX_S):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        more = message.get("more_body", False)
        return message

    return receive_timed


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body may have {bytes_max} bytes at most; send less in one request")


def _too_slow() -> BodyTooSlow:
    return BodyTooSlow("send the same request again, with the same idempotency key, over a faster connection")


async def _refuse(scope: Scope, send: Send, problem: Problem) -> None:
    body = json.dumps({**problem.body(), "instance": scope["path"]}).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _announced(scope: Scope) -> int:
    """The body's size as its header says, 0 where it says none."""
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text[:20]) if text.isdigit() else 0

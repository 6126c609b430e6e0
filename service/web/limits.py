"""Limits that hold before any handler runs."""

import asyncio
import json
import re
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem
from service.web.problems import MEDIA_TYPE, RETRY_AFTER_S, BodyTooLarge, BodyTooSlow, TooManyBodies

BODY_WAIT_MAX_S = 30.0
"""Longest time for a whole body; of one that is read as it comes, for each next part of it, or its end."""

PART_BYTES = 65_536
"""So much of a body that is read as it comes is its next part."""

HELD_BYTES_MAX = 256 * 1_024 * 1_024
"""Bytes of bodies that a process holds at a time, before it refuses larger ones than most may be."""

_STREAMED = "muniment.streamed"


def is_streamed(scope: Scope) -> bool:
    """Whether whoever answers the request reads its body as it comes: then nobody else may, and it has no end yet."""
    return _STREAMED in scope


class BodyLimit:
    """ASGI middleware that refuses a body over `bytes_max`, announced or streamed, without keeping it, and one that
    does not come within `BODY_WAIT_MAX_S`.

    Nobody is known yet, so all bodies together have a limit too. Those up to `bytes_max` are counted, and never refused
    for it: there are no more of them than connections, and strangers who send large ones hinder no ordinary work.

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
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for path, most in self._streamed:
            if path.fullmatch(scope["path"]):
                if _announced(scope) > most:
                    await _refuse(scope, send, _too_large(most))
                else:
                    # Not on a copy: what the router finds is read from this scope further out.
                    scope[_STREAMED] = True
                    await self._app(scope, _timed(receive), send)
                return
        chunks: list[bytes] = []
        try:
            await self._handle_whole(scope, receive, send, chunks)
        finally:
            self._held_bytes -= sum(map(len, chunks))

    async def _handle_whole(self, scope: Scope, receive: Receive, send: Send, chunks: list[bytes]) -> None:
        """Hand the body on once it is whole; `chunks` is what is held of it."""
        bytes_max = max([self._bytes_max, *(most for path, most in self._larger if path.fullmatch(scope["path"]))])
        try:
            async with asyncio.timeout(BODY_WAIT_MAX_S):
                whole = await self._collect(receive, chunks, bytes_max)
        except TimeoutError:
            await _refuse(scope, send, _too_slow())
            return
        except (BodyTooLarge, TooManyBodies) as problem:
            await _refuse(scope, send, problem)
            return
        if not whole:
            return
        chunks[:] = [b"".join(chunks)]
        replayed = iter([{"type": "http.request", "body": chunks[0], "more_body": False}])

        async def replay() -> Message:
            return next(replayed, None) or await receive()

        await self._app(scope, replay, send)

    async def _collect(self, receive: Receive, chunks: list[bytes], bytes_max: int) -> bool:
        """Whether the whole body came; not so when the caller went away.

        Raises:
            BodyTooLarge: it has more than `bytes_max`.
            TooManyBodies: it is larger than most may be, and as much is held as may be.
        """
        size_bytes, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return False
            chunks.append(message.get("body", b""))
            size_bytes += len(chunks[-1])
            self._held_bytes += len(chunks[-1])
            if size_bytes > bytes_max:
                raise _too_large(bytes_max)
            if size_bytes > self._bytes_max and self._held_bytes > HELD_BYTES_MAX:
                raise TooManyBodies("send the same request again, with the same idempotency key, in a second")
            more = message.get("more_body", False)
        return True


def _timed(receive: Receive) -> Receive:
    """The same, but only so long may be waited for each next part of a body; what is done with a part is not timed."""
    more, part_bytes, left_s = True, 0, BODY_WAIT_MAX_S

    async def receive_timed() -> Message:
        nonlocal more, part_bytes, left_s
        if not more:
            return await receive()
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        left_s -= time.monotonic() - began_s
        part_bytes += len(message.get("body", b""))
        if part_bytes >= PART_BYTES:
            part_bytes, left_s = 0, BODY_WAIT_MAX_S
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
    if problem.status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _announced(scope: Scope) -> int:
    """The body's size as its header says, 0 where it says none."""
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text[:20]) if text.isdigit() else 0

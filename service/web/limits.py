"""Limits that hold before any handler runs."""

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problems import MEDIA_TYPE, BodyTooLarge


class BodyLimit:
    """ASGI middleware that refuses a body over `bytes_max`, announced or streamed, without keeping it."""

    def __init__(self, app: ASGIApp, *, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._collect(receive)
        if body is None:
            return
        if len(body) > self._bytes_max:
            await self._refuse(scope, send)
            return
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(replayed, None) or await receive()

        await self._app(scope, replay, send)

    async def _collect(self, receive: Receive) -> bytes | None:
        """The body, or enough of it to know that it is too large; None when the caller went away."""
        chunks, size, more = [], 0, True
        while more and size <= self._bytes_max:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
        return b"".join(chunks)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        problem = BodyTooLarge(f"the body may have {self._bytes_max} bytes at most; send less in one request")
        body = json.dumps({**problem.body(), "instance": scope["path"]}).encode()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

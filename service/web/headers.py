"""Headers that every answer leaves with, whoever made it: what browsers, and caches on the way, must not do with it."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""A content security policy: nothing in an answer is run, fetched or framed. Source: W3C CSP level 3."""

HSTS_S = 2 * 365 * 24 * 3_600


class SafeHeaders:
    """ASGI middleware that adds them; there is no CORS: no page of another origin may read an answer.

    Args:
        live: browsers shall come by https alone (RFC 6797).
        pages: content security policies of paths whose answers are pages; what they load may be kept by caches.
        loaded: prefix of the paths that those pages load.
    """

    def __init__(self, app: ASGIApp, *, live: bool, pages: Mapping[str, str], loaded: str) -> None:
        hsts = {"strict-transport-security": f"max-age={HSTS_S}; includeSubDomains"} if live else {}
        always = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", **hsts}
        unkept = {**always, "cache-control": "no-store"}
        self._app, self._loaded_from = app, loaded
        self._usual = _packed({**unkept, "content-security-policy": NOTHING})
        self._loaded = _packed({**always, "content-security-policy": NOTHING})
        self._pages = {path: _packed({**unkept, "content-security-policy": pages[path]}) for path in pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        headers = self._loaded if path.startswith(self._loaded_from) else self._pages.get(path, self._usual)

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, safe)


def _packed(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), text.encode()) for name, text in headers.items()]

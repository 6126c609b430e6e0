"""A receiver of webhooks on this machine, which answers each path as it is told."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's own."""
        return self.headers["webhook-id"]

    @property
    def told(self) -> dict[str, Any]:
        """The message."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True)
class Receiver:
    """What it heard; a path that has no behaviour takes everything."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Write down, and answer."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(request.path, headers, await request.read()))
        behaviour = self.behaviours.get(request.path)
        return web.Response(status=204) if behaviour is None else await behaviour(request)

    def at(self, path: str) -> list[Heard]:
        """What came to a path."""
        return [each for each in self.heard if each.path == path]


def saying(status: int, **headers: str) -> Behaviour:
    """One answer for everything."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={name.replace("_", "-"): each for name, each in headers.items()})

    return answer


@asynccontextmanager
async def open_receiver(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, over TLS where it has a certificate."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    receiver.url = f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()

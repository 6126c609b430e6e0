"""A payment processor on this machine, which charges once for each key and fails as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Processor:
    """What it heard and did. `fails` answers in its place, before it charges or after."""

    url: str = ""
    charged: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before: Behaviour | None = None
    after: Behaviour | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Charge, once for each key."""
        key, body = request.headers["Idempotency-Key"], await request.json()
        self.heard.append((key, body))
        if self.before is not None:
            return await self.before(request)
        declined = body["amount"] == "666"
        told = {"id": f"ch_{len(self.charged)}", "status": "declined" if declined else "accepted"}
        if declined:
            told["code"] = "insufficient_funds"
        first = self.charged.setdefault(key, told)
        if self.after is not None:
            return await self.after(request)
        return web.json_response(first, status=402 if declined else 201)


def answering(status: int, body: Any = None, **headers: str) -> Behaviour:
    """One answer for everything."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    """No answer."""
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


async def hang_up(request: web.Request) -> web.StreamResponse:
    """The connection is cut."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def open_processor() -> AsyncIterator[Processor]:
    """One that listens."""
    processor, app = Processor(), web.Application()
    app.router.add_post("/payments", processor.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    processor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield processor
    finally:
        await runner.cleanup()

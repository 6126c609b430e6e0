"""A real chain behind an endpoint that lies about it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

Lie = Callable[[str, list[Any], Any], Any]
"""From a method, its parameters and the true result to what is told."""


class Liar:
    """An endpoint in front of a node; `lie` and `lacks` may change at any time."""

    def __init__(self, behind_url: str) -> None:
        self.lie: Lie | None = None
        self.lacks: frozenset[str] = frozenset()  # methods that it does not offer
        self.asked: list[str] = []  # methods that came in, in order
        self.requests = 0
        self.url = ""
        self._behind_url = behind_url

    async def answer(self, request: web.Request) -> web.Response:
        """Pass the questions on, and bend the answers."""
        calls = json.loads(await request.read())
        listed = calls if isinstance(calls, list) else [calls]
        self.requests += 1
        self.asked += [call["method"] for call in listed]
        async with aiohttp.ClientSession() as session, session.post(self._behind_url, json=listed) as response:
            answers = {answer["id"]: answer for answer in await response.json()}
        told = [self._told(call, answers[call["id"]]) for call in listed]
        return web.json_response(told if isinstance(calls, list) else told[0])

    def _told(self, call: Any, answer: Any) -> Any:
        if call["method"] in self.lacks:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "Method not found"}}
        if self.lie is None or "result" not in answer:
            return answer
        return {**answer, "result": self.lie(call["method"], call["params"], answer["result"])}


@asynccontextmanager
async def lying_endpoint(behind_url: str) -> AsyncIterator[Liar]:
    """An endpoint on loopback in front of a node."""
    liar = Liar(behind_url)
    app = web.Application()
    app.router.add_post("/", liar.answer)
    async with TestServer(app, host="127.0.0.1", skip_url_asserts=True) as server:
        liar.url = f"http://127.0.0.1:{server.port}/"
        yield liar

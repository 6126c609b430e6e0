"""A real node behind a road that fails it: what an endpoint can do to its client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

Fault = Literal[
    "none",
    "late",  # does what it is told, and answers when nobody listens any more
    "twice",  # every answer stands there twice
    "error after",  # does what it is told, and answers with an error of HTTP
    "refusal after",  # does what it is told, and answers with an error of its own
    "dies",  # does what it is told, and breaks off in the middle of the answer
    "down",  # does nothing and hangs up
    "limited",  # does nothing and asks for patience
    "poor",  # knows no method but those of a look
    "pruned",  # has forgotten all states
    "other chain",
    "behind",  # knows no block of the last ten
    "branch",  # has every receipt from another block
    "misshapen",  # answers with a word
]
BEHIND_BLOCKS = 10


class Faulty:
    """An endpoint in front of a node; `fault` may change at any time."""

    def __init__(self, behind_url: str) -> None:
        self.fault: Fault = "none"
        self.asked: list[str] = []  # methods that came in, in order
        self.requests = 0
        self.url = ""
        self._behind_url = behind_url

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request as the present fault has it."""
        fault, body = self.fault, await request.read()
        calls = json.loads(body)
        listed = calls if isinstance(calls, list) else [calls]
        self.requests += 1
        self.asked += [call["method"] for call in listed]
        if fault == "down":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if fault == "limited":
            told = [_refusal(call, -32005, "rate limit reached") for call in listed]
        else:
            calls_now = await self._behind(listed) if fault == "behind" else listed
            answers = await self._ask(calls_now)
            told = [_changed(fault, call, answer) for call, answer in zip(listed, answers, strict=True)]
        if fault == "late":
            await _unheard(request)
        if fault == "error after":
            return web.Response(status=502)
        if fault == "twice":
            return web.json_response(told + told)
        text = json.dumps(told if isinstance(calls, list) else told[0]).encode()
        if fault != "dies":
            return web.Response(body=text, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _behind(self, calls: list[Any]) -> list[Any]:
        """The same questions as of ten blocks ago."""
        (newest,) = await self._ask([{"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}])
        height = max(int(newest["result"], 16) - BEHIND_BLOCKS, 0)
        return [_not_above(height, call) for call in calls]

    async def _ask(self, calls: list[Any]) -> list[Any]:
        async with aiohttp.ClientSession() as session, session.post(self._behind_url, json=calls) as response:
            answers = {answer["id"]: answer for answer in await response.json()}
        return [answers[call["id"]] for call in calls]


async def _unheard(request: web.Request) -> None:
    """Wait until the client has hung up."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _not_above(height: int, call: Any) -> Any:
    """A question as a node takes it that is no higher: "latest" is its own, and blocks above it are unknown."""
    params = [hex(height) if each == "latest" else each for each in call["params"]]
    if call["method"] == "eth_getBlockByNumber" and params[0].startswith("0x") and int(params[0], 16) > height:
        params[0] = hex(2**40)
    return {**call, "params": params}


def _refusal(call: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}


def _changed(fault: Fault, call: Any, answer: Any) -> Any:
    method, result = call["method"], answer.get("result")
    look = method in ("eth_chainId", "eth_getBlockByNumber")
    receipt = method == "eth_getTransactionReceipt" and result is not None
    match fault:
        case "refusal after":
            return _refusal(call, -32603, "Internal error")
        case "poor" if not look:
            return _refusal(call, -32601, "Method not found")
        case "pruned" if not look:
            return _refusal(call, -32000, "missing trie node 5e (path ) state is not available")
        case "other chain" if method == "eth_chainId":
            result = "0x1"
        case "misshapen" if not look:
            result = "fine"
        case "behind" if receipt:
            result = None
        case "branch" if receipt:
            result = {**result, "blockHash": "0x" + "66" * 32}
        case _:
            return answer
    return {"jsonrpc": "2.0", "id": call["id"], "result": result}


@asynccontextmanager
async def faulty_endpoint(behind_url: str) -> AsyncIterator[Faulty]:
    """An endpoint on loopback in front of a node."""
    endpoint = Faulty(behind_url)
    app = web.Application()
    app.router.add_post("/{secret}", endpoint.answer)
    async with TestServer(app, host="127.0.0.1", skip_url_asserts=True) as server:
        endpoint.url = f"http://127.0.0.1:{server.port}/secret-api-key"
        yield endpoint

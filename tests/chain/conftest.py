"""A way to the real chain, and a server that lies where a real node cannot be made to."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.addresses import ZERO
from service.chain.contracts import creation_code
from service.chain.node import Node
from service.chain.reader import Chain, Finality
from tests.rpc import rpc

CHAIN_ID = 31337
Answer = Callable[[Any], Awaitable[web.StreamResponse] | web.StreamResponse]
OpenNode = Callable[..., Node]
Lying = Callable[[Answer], AbstractAsyncContextManager[str]]


@pytest.fixture
async def open_node() -> AsyncIterator[OpenNode]:
    """Nodes that are closed after the test, whatever becomes of it."""
    opened: list[Node] = []

    def open_one(url: str, **limits: Any) -> Node:
        opened.append(Node(url, **limits))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
def node(chain_url: str, open_node: OpenNode) -> Node:
    return open_node(chain_url)


@pytest.fixture
def chain(node: Node) -> Chain:
    return Chain(node, chain_id=CHAIN_ID, finality=Finality(2))


@pytest.fixture
def lying() -> Lying:
    """A server on loopback that answers what the test says; the test gets the decoded request."""

    @asynccontextmanager
    async def serve(answer: Answer) -> AsyncIterator[str]:
        async def handle(request: web.Request) -> web.StreamResponse:
            response = answer(json.loads(await request.read()))
            return response if isinstance(response, web.StreamResponse) else await response

        app = web.Application()
        app.router.add_post("/{secret}", handle)
        async with TestServer(app, host="127.0.0.1", skip_url_asserts=True) as server:
            yield f"http://127.0.0.1:{server.port}/secret-api-key"

    return serve


@dataclass(slots=True)
class World:
    """What a test does to the chain, on a road that shares nothing with the code under test."""

    url: str
    accounts: list[bytes] = field(default_factory=list)

    def rpc(self, method: str, *params: Any) -> Any:
        return rpc(self.url, method, *params)

    def mine(self, count: int) -> None:
        self.rpc("anvil_mine", hex(count))

    def send(self, to: bytes | None, data: bytes, *, sender: bytes) -> dict[str, Any]:
        """Have anvil sign, send and mine a transaction; returns its receipt."""
        message = {"from": "0x" + sender.hex(), "data": "0x" + data.hex(), "gas": hex(5_000_000)}
        if to is not None:
            message["to"] = "0x" + to.hex()
        return self.mined(self.rpc("eth_sendTransaction", message))

    def mined(self, transaction_hash: str) -> dict[str, Any]:
        """Wait for a transaction's receipt: automine answers before the block is there."""
        for _ in range(500):
            receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction_hash)
            if receipt is not None:
                return receipt
            time.sleep(0.01)
        raise AssertionError(f"{transaction_hash} was not mined")

    def token(self) -> bytes:
        """A new AssetToken under a new authority, in which the first account has every role."""
        authority = self.create("IssuerAuthority", self.accounts[0], 0, ZERO)
        terms = ("Harbour House", "HARB", 6, authority, ZERO, ZERO, bytes(32), bytes(32))
        return self.create("AssetToken", terms)

    def create(self, name: str, *arguments: Any) -> bytes:
        """A contract made by the first account; its address."""
        made = self.send(None, creation_code(name, *arguments), sender=self.accounts[0])
        return bytes.fromhex(made["contractAddress"][2:])


@pytest.fixture
def world(chain_url: str) -> World:
    return World(chain_url, [bytes.fromhex(text[2:]) for text in rpc(chain_url, "eth_accounts")])

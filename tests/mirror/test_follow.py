"""The follow gear: a websocket wakes the poll and nothing more; what a step asks is learnt, and few round trips."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.chain.new_heads import wake_on_new_heads
from service.chain.node import NodeRefused
from service.chain.reader import Block, Chain, Head, Log
from service.mirror import branches
from service.mirror.standing import Place
from service.workers import run
from tests.mirror.liars import lying_endpoint
from tests.mirror.test_undo import busy
from tests.mirror.world import Ledger, Mirror, way_to

PATIENCE_S = 20.0


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[asyncio.Event]:
    """What a websocket wakes."""
    wake = asyncio.Event()
    task = asyncio.create_task(wake_on_new_heads(SecretStr(url), wake))
    try:
        yield wake
    finally:
        task.cancel()


async def test_a_new_block_wakes_the_poll(mirror: Mirror, ledger: Ledger) -> None:
    stop, stepped = asyncio.Event(), asyncio.Event()

    async def step(_: object) -> int:
        done = await mirror.step()
        stepped.set()
        return done

    async with listening(ledger.url.replace("http", "ws")) as wake:
        await asyncio.wait_for(wake.wait(), PATIENCE_S)  # the node's leave
        running = asyncio.create_task(run(mirror.db, mirror.lease, step, poll_interval_s=600, stop=stop, wake=wake))
        try:
            for _ in range(3):
                await asyncio.to_thread(ledger.mine)
                height = await asyncio.to_thread(ledger.height)
                async with asyncio.timeout(PATIENCE_S):
                    while (await mirror.rows("SELECT max(number) FROM mirror.blocks"))[0][0] != height:
                        stepped.clear()
                        await stepped.wait()
        finally:
            stop.set()
            await running


async def test_a_dead_websocket_is_opened_again_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def counted(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(0)

    monkeypatch.setattr("service.chain.new_heads.asyncio.sleep", counted)
    opened = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal opened
        opened += 1
        if opened <= 2:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if opened == 3:
            await socket.send_str('{"id": 1, "error": {"code": -32601, "message": "no such thing"}}')
        elif opened == 4:
            await socket.send_str("nonsense")
        else:
            await socket.send_str('{"id": 1, "result": "0x1"}')
            await socket.send_str('{"method": "eth_subscription", "params": {}}')
            await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app, host="127.0.0.1", skip_url_asserts=True) as server:
        with capture_logs() as logs:
            async with listening(f"ws://127.0.0.1:{server.port}/?key=hidden"):
                async with asyncio.timeout(PATIENCE_S):
                    while not any(entry["event"] == "websocket_open" for entry in logs):
                        await sleep(0.01)
    assert opened == 5
    assert pauses[:4] == [1, 2, 4, 8]
    assert [entry["event"] for entry in logs] == ["websocket_lost", "websocket_open"]
    assert "hidden" not in str(logs)


async def test_a_block_takes_two_requests_of_the_node(mirror: Mirror, ledger: Ledger) -> None:
    async with lying_endpoint(ledger.url) as endpoint:
        node, mirror.chain = way_to(endpoint.url)
        mirror.gear.receipts_share = 0
        try:
            token = busy(ledger, blocks=3)
            await mirror.converge()
            ledger.mint(token, ledger.accounts[1], 5)
            before = endpoint.requests
            assert await mirror.step() == 1
            assert endpoint.requests - before == 2
        finally:
            await node.close()
    await mirror.agrees_everywhere()


async def test_a_width_that_was_refused_is_not_asked_again_at_once(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=5)
    ledger.mine(40)
    refused: list[int] = []

    class Narrow(Chain):
        async def logs(
            self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
        ) -> tuple[list[Log], Block]:
            if last - first >= 5:
                refused.append(last - first + 1)
                raise NodeRefused(-32602, "query exceeds max block range 5")
            return await super().logs(first=first, last=last, addresses=addresses, topics=topics)

    real = mirror.chain
    mirror.chain, mirror.blocks_max = Narrow(real._node, chain_id=real.chain_id, finality=real.finality), 20
    await mirror.converge()
    assert len(refused) <= 4, "once for each halving"
    await mirror.agrees(ledger.height())


class Forked:
    """A chain of 5,000 blocks and a mirror of another branch, as far as the way to the fork asks them."""

    def __init__(self, fork: int) -> None:
        self.fork, self.questions = fork, 0

    def block(self, number: int) -> Block:
        own, parent = (bytes([at > self.fork]) * 16 + at.to_bytes(16) for at in (number, number - 1))
        return Block(number, own, parent, timestamp=0)

    async def fetch(self, query: str, given: Sequence[Any]) -> list[Any]:
        if "ORDER BY number LIMIT 1" in query:
            return [(1,)]
        return [(number, bytes(16) + number.to_bytes(16)) for number in given[1]]

    async def block_hashes(self, numbers: Sequence[int]) -> dict[int, bytes | None]:
        self.questions += 1
        return {number: self.block(number).hash for number in numbers}

    async def blocks(self, *, first: int, count_max: int) -> list[Block]:
        return [self.block(number) for number in range(first, first + count_max)]

    async def hashes_everywhere(self, number: int) -> list[bytes | None]:
        return [self.block(number).hash]


@pytest.mark.parametrize("fork", [0, 1, 2, 17, 1_000, 3_071, 3_072, 4_900, 4_967, 4_998, 4_999])
async def test_a_fork_is_found_in_few_questions_however_deep_it_is(fork: int) -> None:
    chain = cast(Any, Forked(fork))
    place = Place(5_000, bytes(32), (5_000, 0), True, None, 0.0, None, None)
    head = Head(chain.block(5_000), 0)
    assert await branches.find_fork(chain, chain, place, head, chain_id=1) == fork
    assert chain.questions <= 4
